"""The zip archive that ``torch.save`` writes: what must hold before it is read, and its checksums.

Torch stores a CRC-32 of every entry and looks at none of them when it loads; a flipped bit in a weight loads silently.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from trainwright.base.errors import CheckpointError

Source = str | io.BytesIO
_LOCAL_HEADER = 30  # bytes before the name
_ENCRYPTED = 1
_MAX_THREADS = 4
_HARMLESS_BYTES = 1 << 20
_TENSORS = "/data/"  # entries of which a file has one a storage


def check_table(path: str, source: Source) -> list[zipfile.ZipInfo]:
    """The entries of the archive at ``path``; CheckpointError for one that torch would not write.

    Nothing is taken out. Entries must be stored, not compressed: a few kilobytes could stand for terabytes. Together
    they must fit into the file, and their names must be plain paths below one folder.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except Exception as error:  # a damaged table makes zipfile raise almost anything
        raise _damaged(path, f"is truncated or damaged ({type(error).__name__}: {error})") from error
    names = [entry.filename for entry in entries]
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(
            f"{path!r} is a zip archive, but no checkpoint: it has no 'data.pkl' that torch.save makes."
        )
    for entry in entries:
        is_stored = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
        if not is_stored or entry.flag_bits & _ENCRYPTED:
            raise _refused(
                path, f"its entry {entry.filename!r} is compressed or encrypted, which torch.save never does"
            )
        if entry.filename.startswith(("/", "\\")) or ".." in entry.filename.replace("\\", "/").split("/"):
            raise _refused(path, f"its entry {entry.filename!r} points out of the archive")
    if len(set(names)) < len(names):
        raise _refused(path, "it has two entries of one name")
    n_bytes = _size(source)
    if sum(entry.file_size for entry in entries) > n_bytes:
        raise _refused(path, f"its entries claim more than the {n_bytes:,} bytes of the file")
    return entries


@contextmanager
def checksums(path: str, source: Source, entries: list[zipfile.ZipInfo]) -> Iterator[None]:
    """Compare the bytes of all entries with their checksums: small ones before the body, tensors beside it.

    Threads share the work; the file is mapped, so no memory is taken. When a sum is wrong, leaving raises
    CheckpointError, in place of whatever error the damage caused in the body.
    """
    with _bytes_of(source) as view, ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool:
        small = [entry for entry in entries if _TENSORS not in entry.filename]
        for entry in small:
            if not _holds(view, entry):
                raise _wrong_sum(path, entry)
        large = sorted((e for e in entries if _TENSORS in e.filename), key=lambda e: e.file_size, reverse=True)
        sums = [(entry, pool.submit(_holds, view, entry)) for entry in large]
        try:
            yield
        finally:
            for entry, holds in sums:
                if not holds.result():
                    pool.shutdown(cancel_futures=True)
                    raise _wrong_sum(path, entry)


def check_sizes(path: str, source: Source, tree: Any) -> None:
    """CheckpointError for a tensor that claims more bytes than the whole file has, as one of stride 0 can: a copy of
    it would take that memory."""
    n_bytes = max(_size(source), _HARMLESS_BYTES)
    waiting, seen = [tree], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            if value.layout is torch.strided and value.numel() * value.element_size() > n_bytes:
                raise _refused(
                    path,
                    f"a tensor of shape {tuple(value.shape)} claims {value.numel() * value.element_size():,} bytes, "
                    f"and the file has {_size(source):,}",
                )
        elif isinstance(value, (Mapping, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, Mapping) else value)


def _holds(view: memoryview, entry: zipfile.ZipInfo) -> bool:
    at = entry.header_offset
    header = bytes(view[at : at + _LOCAL_HEADER])
    if len(header) < _LOCAL_HEADER or not header.startswith(b"PK\x03\x04"):
        return False
    n_name, n_extra = struct.unpack("<HH", header[26:30])
    name = bytes(view[at + _LOCAL_HEADER : at + _LOCAL_HEADER + n_name])
    start = at + _LOCAL_HEADER + n_name + n_extra
    if name != entry.orig_filename.encode() or start + entry.file_size > len(view):
        return False
    with view[start : start + entry.file_size] as data:
        return zlib.crc32(data) == entry.CRC  # releases the interpreter lock: threads run side by side


@contextmanager
def _bytes_of(source: Source) -> Iterator[memoryview]:
    if isinstance(source, io.BytesIO):
        with source.getbuffer() as view:
            yield view.toreadonly()
        return
    with (
        open(source, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        yield view


def _size(source: Source) -> int:
    return source.getbuffer().nbytes if isinstance(source, io.BytesIO) else os.path.getsize(source)


def _refused(path: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path!r} was refused: it is damaged, or was not made by torch.save, because {why}. Nothing of it "
        "was used. Use an older checkpoint, or save it again."
    )


def _wrong_sum(path: str, entry: zipfile.ZipInfo) -> CheckpointError:
    return _damaged(path, f"is damaged: the checksum of its entry {entry.filename!r} does not match its bytes")


def _damaged(path: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path!r} {what}: its copy or its save did not finish, or the disk changed it. Use an older "
        "checkpoint, or copy the file again."
    )
