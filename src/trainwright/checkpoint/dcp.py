"""Folders of torch.distributed.checkpoint, read without its own reader, which unpickles whatever the folder says.

``.metadata`` is a pickle: it is followed as data (``pickles.py``), with the few classes that such a file has. What it
names is cut out of the data files and read as any checkpoint is: checked, and without running code.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.bounds import check_tree
from trainwright.checkpoint.chunks import Chunk, assembled
from trainwright.checkpoint.foreign_tensors import DTYPES
from trainwright.checkpoint.format import MapLocation, read_value
from trainwright.checkpoint.pickles import Call, Name, PickleError, parse

METADATA = ".metadata"
_ROOM = "torch.distributed.checkpoint"
_CLASSES = (
    *("Metadata", "MetadataIndex", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata"),
    *("TensorProperties", "StorageMeta", "_MEM_FORMAT_ENCODING"),
)
_ALLOWED = frozenset(
    {
        *(f"{_ROOM}.metadata.{name}" for name in _CLASSES),
        f"{_ROOM}.filesystem._StorageInfo",
        *("torch.Size", "torch.serialization._get_layout", "collections.OrderedDict"),
        *(f"pathlib.{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows")),
        *(f"pathlib._local.{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows")),
        *DTYPES,
    }
)
_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError, LookupError)


def is_dcp(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is one of torch.distributed.checkpoint."""
    return (Path(path) / METADATA).is_file()


def read_dcp(path: str | os.PathLike[str], map_location: MapLocation = "cpu") -> dict[str, Any]:
    """The whole tree of the folder, its tensors put together. Nothing that its pickles name is called.

    Raises CheckpointError when it is damaged, incomplete, or holds objects. Its format has no checksums of the tensors;
    those of the archives inside are compared.
    """
    folder = Path(path)
    try:
        tree = _Folder(folder, map_location).tree()
    except PickleError as error:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} was refused: its {METADATA} holds more than places of tensors, and to read "
            f"that would run code ({error})."
        ) from error
    except (OSError, *_ERRORS) as error:
        raise CheckpointError(
            f"checkpoint {str(folder)!r} is damaged or incomplete ({type(error).__name__}: {str(error)[:200]})."
        ) from error
    check_tree(str(folder), tree)
    return tree


class _Folder:
    def __init__(self, folder: Path, map_location: MapLocation) -> None:
        self._folder = folder
        self._map_location = map_location
        self._sizes: dict[str, int] = {}
        root = _fields(parse(io.BytesIO((folder / METADATA).read_bytes()), _ALLOWED), "Metadata")
        self._entries = root["state_dict_metadata"]
        self._paths = root.get("planner_data")
        self._places = {_index(key): _fields(place, "_StorageInfo") for key, place in root["storage_data"].items()}
        for place in self._places.values():
            self._check_place(place)

    def tree(self) -> dict[str, Any]:
        paths = self._paths if isinstance(self._paths, dict) else {}
        nested: dict[Any, Any] = {}
        for name, entry in self._entries.items():
            _put(nested, paths.get(name) or (name,), self._value(name, entry))
        result = _with_lists(nested)
        if not isinstance(result, dict):
            raise PickleError("it holds a list and not a dict")
        return result

    def _value(self, name: str, entry: Any) -> Any:
        if type(entry) is not Call or not entry.name.startswith(f"{_ROOM}.metadata."):
            raise PickleError(f"the entry of {str(name)[:100]!r} is none")
        if entry.name.endswith(".BytesStorageMetadata"):
            return self._read(name, self._places[name, None])
        fields = _fields(entry, "TensorStorageMetadata")
        shape = _size(fields["size"])
        properties = fields["properties"].states[-1]
        dtype = properties[0] if isinstance(properties, tuple) else properties["dtype"]
        if type(dtype) is not Name or dtype.dotted not in DTYPES:
            raise PickleError(f"the tensor {name!r} has no type")
        chunks = [_fields(chunk, "ChunkStorageMetadata") for chunk in fields["chunks"]]
        boxes = [Chunk(_size(chunk["offsets"]), _size(chunk["sizes"])) for chunk in chunks]
        n_bytes = math.prod(shape) * DTYPES[dtype.dotted].itemsize
        if n_bytes > sum(self._places[name, box.offset]["length"] for box in boxes):
            raise CheckpointError(
                f"checkpoint {str(self._folder)!r} was refused: its tensor {name!r} of shape {shape} claims "
                f"{n_bytes:,} bytes, more than its parts have."
            )
        parts = [(box, self._part(name, box)) for box in boxes]
        if len(parts) == 1 and boxes[0].shape == shape:
            return parts[0][1]
        return assembled(Chunk((0,) * len(shape), shape), parts, DTYPES[dtype.dotted])

    def _part(self, name: str, box: Chunk) -> torch.Tensor:
        part = self._read(name, self._places[name, box.offset])
        if not isinstance(part, torch.Tensor) or tuple(part.shape) != box.shape:
            raise LookupError(f"what lies at the place of {name!r} is not its part of shape {box.shape}")
        return part

    def _read(self, name: str, place: Mapping[str, Any]) -> Any:
        with open(self._folder / place["relative_path"], "rb") as file:
            data = _cut_out(file, place["offset"], place["length"])
        return read_value(f"{self._folder} ({name})", io.BytesIO(data), self._map_location)

    def _check_place(self, place: Mapping[str, Any]) -> None:
        name, offset, length = place["relative_path"], place["offset"], place["length"]
        if type(name) is not str or Path(name).name != name or name in ("", ".", ".."):
            raise PickleError(f"it names the file {str(name)[:100]!r}, which is none of the folder")
        if name not in self._sizes:
            self._sizes[name] = (self._folder / name).stat().st_size
        if (
            type(offset) is not int
            or type(length) is not int
            or not 0 <= offset <= offset + length <= self._sizes[name]
        ):
            raise PickleError(f"it names bytes that the file {name!r} does not have")
        if place.get("transform_descriptors"):
            raise PickleError("its data are compressed, which is not read here")


def _cut_out(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _fields(call: Any, kind: str) -> dict[str, Any]:
    """The attributes of a dataclass of that name."""
    if type(call) is not Call or not call.name.endswith(f".{kind}"):
        raise PickleError(f"it has something else where a {kind} must be")
    state = call.states[-1] if call.states else {}
    if not isinstance(state, dict):
        raise PickleError(f"a {kind} in it has no fields")
    return state


def _index(call: Any) -> tuple[str, tuple[int, ...] | None]:
    fields = _fields(call, "MetadataIndex")
    offset = fields.get("offset")
    return fields["fqn"], None if offset is None else _size(offset)


def _size(value: Any) -> tuple[int, ...]:
    items = value.args[0] if type(value) is Call and value.name == "torch.Size" and value.args else value
    found = () if type(items) is Call else tuple(items)
    if not all(type(n) is int and 0 <= n < 1 << 62 for n in found):
        raise PickleError("a shape or offset in it is none")
    return found


def _put(tree: dict[Any, Any], path: Any, value: Any) -> None:
    *outer, last = path
    for key in outer:
        tree = tree.setdefault(key, {})
    tree[last] = value


def _with_lists(tree: Any) -> Any:
    """Dicts whose keys are the numbers from 0 on are lists: keys of dicts are always text in such a folder."""
    if not isinstance(tree, dict):
        return tree
    items = {key: _with_lists(item) for key, item in tree.items()}
    if items and all(type(key) is int for key in items) and sorted(items) == list(range(len(items))):
        return [items[at] for at in range(len(items))]
    return items
