"""Checkpoints of other tools, whose pickles hold more than tensors and plain data, read without running any of it.

MMEngine keeps histories and NumPy's numbers in a checkpoint, MMCV 1.x its config, detectron2 arrays in a bare pickle.
The instructions of the pickle become data (``pickles.py``), what the known classes stand for becomes tensors and plain
data (``foreign_values.py``), and a file that names anything else is refused before a tensor is read.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trainwright.base.logs import MMLogger
from trainwright.checkpoint.bounds import check_tree
from trainwright.checkpoint.foreign_tensors import (
    NoStorages,
    Place,
    Storages,
    StreamStorages,
    ZipStorages,
    itemsize_of,
    opened,
)
from trainwright.checkpoint.foreign_values import ALLOWED, Values
from trainwright.checkpoint.pickles import Call, Name, PickleError, Stored, parse

Source = str | io.BytesIO
_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, RuntimeError)
_LEGACY_PROTOCOL = 1001


def read_foreign(path: str, source: Source, map_location: Any = "cpu", should_tell: bool = True) -> Any:
    """The content of a torch file, zip or older, or of a bare pickle, as tensors and plain data.

    Raises PickleError with the reason; what was replaced by plain data is logged in one line.
    """
    place = placed(map_location)
    try:
        tree, replaced = _read(source, place)
    except PickleError:
        raise
    except _ERRORS as error:
        raise PickleError(f"it is damaged ({type(error).__name__}: {str(error)[:100]})") from error
    check_tree(path, tree)
    if replaced and should_tell:
        MMLogger.get_current_instance().info(
            "%s was made by another tool: nothing of it was run, and of its objects %s became tensors and plain data",
            path,
            ", ".join(f"{n} of {kind}" for kind, n in sorted(replaced.items())),
        )
    return tree


def is_bare_pickle(head: bytes) -> bool:
    """Whether a file that begins so may be a pickle of protocol 2 to 5 and nothing else, as detectron2's are."""
    return len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5


def placed(map_location: Any) -> Place:
    """A function that puts bytes where ``map_location`` says, in the ways that ``torch.load`` has."""
    if map_location is None or map_location == "cpu":
        return lambda data, location: data
    if callable(map_location):
        return lambda data, location: _by_call(map_location, data, location)
    if isinstance(map_location, dict):
        return lambda data, location: data.to(map_location.get(location, "cpu"))
    return lambda data, location: data.to(map_location)


def _by_call(map_location: Callable[[Any, str], Any], data: Tensor, location: str) -> Tensor:
    result = map_location(data.untyped_storage(), location)
    if result is None:
        return data
    raw = result if isinstance(result, torch.UntypedStorage) else result.untyped()
    return torch.empty(0, dtype=torch.uint8, device=raw.device).set_(raw)


def _read(source: Source, place: Place) -> tuple[Any, Counter[str]]:
    with opened(source) as (view, n_bytes):
        if view.read(2) == b"PK":
            return _from_zip(source, place, n_bytes)
        view.seek(0)
        first = parse(view, ALLOWED)
        if first == torch.serialization.MAGIC_NUMBER:
            return _from_stream(view, place, n_bytes)
        if view.tell() != n_bytes:
            raise PickleError("behind its pickle there is more")
        return _values(first, NoStorages())


def _from_zip(source: Source, place: Place, n_bytes: int) -> tuple[Any, Counter[str]]:
    with zipfile.ZipFile(source) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        tree = parse(io.BytesIO(archive.read(name)), ALLOWED)
        return _values(tree, ZipStorages(archive, name[: -len("data.pkl")], place, n_bytes))


def _from_stream(view: Any, place: Place, n_bytes: int) -> tuple[Any, Counter[str]]:
    if parse(view, ALLOWED) != _LEGACY_PROTOCOL:
        raise PickleError("it is of another version than the format of torch before 1.6")
    system = parse(view, ALLOWED)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise PickleError("its numbers are in the byte order of another machine")
    tree = parse(view, ALLOWED)
    keys = parse(view, ALLOWED)
    storages = StreamStorages(view, place, n_bytes)
    storages.find(keys, _itemsizes(tree))
    return _values(tree, storages)


def _values(tree: Any, storages: Storages) -> tuple[Any, Counter[str]]:
    values = Values(storages)
    return values.plain(tree), values.replaced


def _itemsizes(tree: Any) -> dict[str, int]:
    """Bytes of a number for each storage that the pickle names."""
    found: dict[str, int] = {}
    waiting, seen = [tree], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Stored):
            if type(value.key) is tuple and len(value.key) > 2 and isinstance(value.key[1], Name):
                found[str(value.key[2])] = itemsize_of(value.key[1])
        elif isinstance(value, Call):
            waiting += [value.args, value.items, value.states, *(part for pair in value.pairs for part in pair)]
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, (list, tuple, set)):
            waiting.extend(value)
    return found
