"""Tensors of foreign files from their stored bytes, every bound checked before memory is taken."""

from __future__ import annotations

import io
import mmap
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trainwright.checkpoint.pickles import Name, PickleError, Stored

Place = Callable[[Tensor, str], Tensor]
_KINDS = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
STORAGE_TYPES = {
    **{f"{room}.{kind}Storage": dtype for kind, dtype in _KINDS.items() for room in ("torch", "torch.cuda")},
    "torch.storage.UntypedStorage": torch.uint8,
    "torch.UntypedStorage": torch.uint8,
}
DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_MAX_DIMS = 64
_HARMLESS_BYTES = 1 << 20


class Storages:
    """The stored bytes of one file by key, each read once. ``place(bytes, location)`` moves them to their device."""

    def __init__(self, place: Place, n_bytes_of_file: int) -> None:
        self._place = place
        self._n_bytes = max(n_bytes_of_file, _HARMLESS_BYTES)
        self._read: dict[str, Tensor] = {}

    def raw(self, key: str) -> Tensor:
        """The bytes under ``key`` as uint8 ``(n,)``; PickleError when there are none."""
        raise NotImplementedError

    def part(self, stored: Any) -> tuple[Tensor, torch.dtype]:
        """Bytes and type of what a pickle's key stands for."""
        if type(stored) is not Stored or type(stored.key) is not tuple or len(stored.key) not in (5, 6):
            raise PickleError("a tensor in it has no storage")
        kind, storage_type, key, location, _, *view = stored.key
        if kind not in ("storage", b"storage") or type(storage_type) is not Name:
            raise PickleError("a tensor in it has no storage")
        dtype = STORAGE_TYPES.get(storage_type.dotted)
        if dtype is None or not isinstance(key, (str, int)):
            raise PickleError(f"a storage in it is a {storage_type.dotted}")
        key = str(key)
        if key not in self._read:
            self._read[key] = self._place(self.raw(key), str(location))
        data = self._read[key]
        if view and view[0] is not None:
            _, start, length = view[0]
            size = _itemsize(dtype)
            _check_ints((start, length))
            if (start + length) * size > len(data):
                raise PickleError("a storage in it is a part of another that does not have it")
            data = data[start * size : (start + length) * size]
        return data, dtype

    def tensor(self, stored: Any, offset: Any, shape: Any, stride: Any, dtype: torch.dtype | None = None) -> Tensor:
        """A tensor over a storage; PickleError when it reaches out of it, or claims more bytes than the file has."""
        data, stored_dtype = self.part(stored)
        dtype = dtype or stored_dtype
        _check_ints((offset, *shape, *stride))
        if len(shape) != len(stride) or len(shape) > _MAX_DIMS:
            raise PickleError("a tensor in it has a shape that does not fit its strides")
        n_items = 1
        for length in shape:
            n_items *= length
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if n_items else offset
        size = _itemsize(dtype)
        if n_items and (last + 1) * size > len(data):
            raise PickleError(f"a tensor of shape {tuple(shape)} reaches out of its storage of {len(data):,} bytes")
        if n_items * size > self._n_bytes:
            raise PickleError(
                f"a tensor of shape {tuple(shape)} claims {n_items * size:,} bytes, more than the file has"
            )
        base = data.untyped_storage()
        at = data.storage_offset() // size + offset
        return torch.empty(0, dtype=dtype, device=data.device).set_(base, at, tuple(shape), tuple(stride))


class ZipStorages(Storages):
    """Of torch's zip archive."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, place: Place, n_bytes_of_file: int) -> None:
        super().__init__(place, n_bytes_of_file)
        self._archive, self._folder = archive, folder
        self._names = set(archive.namelist())
        order = f"{folder}byteorder"
        if order in self._names and archive.read(order).decode("ascii", "replace") != sys.byteorder:
            raise PickleError("its numbers are in the byte order of another machine")

    def raw(self, key: str) -> Tensor:
        name = f"{self._folder}data/{key}"
        if name not in self._names:
            raise PickleError(f"it has no storage {key!r}")
        data = torch.empty(self._archive.getinfo(name).file_size, dtype=torch.uint8)
        with self._archive.open(name) as entry:
            reader: Any = entry
            n_read = reader.readinto(data.numpy().data) if len(data) else 0  # compares the checksum at its end
        if n_read != len(data):
            raise PickleError(f"its storage {key!r} is cut off")
        return data


class StreamStorages(Storages):
    """Of torch's format before 1.6: one after the other behind the pickle, each after its length."""

    def __init__(self, view: Any, place: Place, n_bytes_of_file: int) -> None:
        super().__init__(place, n_bytes_of_file)
        self._view, self._end = view, n_bytes_of_file
        self._spans: dict[str, tuple[int, int]] = {}

    def find(self, keys: Any, itemsizes: dict[str, int]) -> None:
        """Walk over the storages of ``keys``, in their order, from where the stream stands."""
        for key in keys if type(keys) is list else []:
            head = self._view.read(8)
            n_items = struct.unpack("<q", head)[0] if len(head) == 8 else -1
            start = self._view.tell()
            n_bytes = n_items * itemsizes.get(str(key), 1)
            if n_items < 0 or start + n_bytes > self._end:
                raise PickleError(f"its storage {str(key)[:20]!r} is cut off")
            self._spans[str(key)] = start, n_bytes
            self._view.seek(start + n_bytes)

    def raw(self, key: str) -> Tensor:
        if key not in self._spans:
            raise PickleError(f"it has no storage {key!r}")
        start, n_bytes = self._spans[key]
        self._view.seek(start)
        return torch.frombuffer(bytearray(self._view.read(n_bytes)), dtype=torch.uint8) if n_bytes else _no_bytes()


class NoStorages(Storages):
    """Of a bare pickle, which has arrays only."""

    def __init__(self) -> None:
        super().__init__(lambda data, location: data, 0)

    def raw(self, key: str) -> Tensor:
        raise PickleError("it holds tensors of torch, whose numbers are not in the file")


def itemsize_of(storage_type: Any) -> int:
    """Bytes of a number in a storage of that type."""
    dtype = STORAGE_TYPES.get(storage_type.dotted) if type(storage_type) is Name else None
    return 1 if dtype is None else _itemsize(dtype)


@contextmanager
def opened(source: str | io.BytesIO) -> Iterator[tuple[Any, int]]:
    """``source`` as a stream that never makes room for more than there is, and its length."""
    if isinstance(source, io.BytesIO):
        source.seek(0)
        yield source, source.getbuffer().nbytes
        return
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        yield view, len(view)


def _no_bytes() -> Tensor:
    return torch.empty(0, dtype=torch.uint8)


def _itemsize(dtype: torch.dtype) -> int:
    return dtype.itemsize


def _check_ints(values: tuple[Any, ...]) -> None:
    if not all(type(value) is int and 0 <= value < 1 << 62 for value in values):
        raise PickleError("a tensor in it has a shape, stride or offset that is no number of things")
