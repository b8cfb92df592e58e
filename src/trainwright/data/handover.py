"""One rank of a node reads a dataset's annotations; the others take over what it read, and what it became by that.

Reading changes the dataset itself too: classes found in the file, indices built on the way, random numbers drawn. So
the attributes that changed are handed over with the records. Where that is not possible, or reading may differ from
rank to rank, every rank reads for itself, as it would without any of this.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import types
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from trainwright.base.errors import DataError
from trainwright.base.logs import print_log
from trainwright.data.node_files import MappedArray, MappedFile, RunFolder
from trainwright.data.records import arrays_of, pack, unpack
from trainwright.data.run_name import in_worker

_RECORDS = ("data_list", "data_bytes", "data_address")
_METHODS = ("full_init", "load_data_list", "parse_data_info", "filter_data", "_serialize_data")
# fmt: off
# What a rank that reads something of its own, or waits for the others while it reads, mentions in its code.
_BY_RANK = frozenset((
    "get_rank", "get_dist_info", "get_local_rank", "get_local_size", "is_main_process", "master_only", "RANK",
    "LOCAL_RANK", "SLURM_PROCID", "barrier", "broadcast", "broadcast_object_list", "all_gather", "all_gather_object",
    "all_reduce", "gather_object", "monitored_barrier",
))
# fmt: on
_MISSING: Any = object()
_seen: Counter[str] = Counter()


def load_once(dataset: Any, run: str, load: Callable[[], None]) -> None:
    """``load()``, or what it did to the same dataset in another process of the run `run` on this node.

    The n-th dataset of a kind is the same as the n-th one of that kind elsewhere. When the process that reads fails,
    the others raise a DataError with its message; when it dies, the next one reads.
    """
    key = _key(dataset)
    try:
        folder = RunFolder.open(run)
    except OSError:
        load()  # storing the records warns
        return
    path = os.path.join(folder.path, f"{key}.head")
    with folder.locked(key):
        head = _read(path)
        file = _open(head, folder)
        if file is None and head["kind"] != "alone":
            _load_first(dataset, load, path)
            return
    if file is None or not _take_over(dataset, head, file):
        _tell_alone(dataset, head)
        load()


def may_share(dataset: Any) -> bool:
    """What `share_data` says; where it says nothing, whether no method that reads looks at the rank."""
    if dataset.share_data is not None:
        return bool(dataset.share_data)
    kind: Any = type(dataset)
    names = _mentioned(kind)
    if names:
        print_log(
            f"every rank reads the annotations of {type(dataset).__name__} itself, because what reads them mentions "
            f"{names}. Where all ranks read the same, and none waits for another meanwhile, share_data=True lets one "
            "rank of a node read for all; share_data=False is as now, without this message",
            "current",
        )
    return not names


@functools.cache
def _mentioned(cls: Any) -> str:
    """Followed through methods of the class, and functions of the package that it is from."""
    package = cls.__module__.partition(".")[0]
    waiting = _methods(cls, _METHODS)
    done: set[Any] = set()
    found: set[str] = set()
    while waiting:
        function = waiting.pop()
        if function in done:
            continue
        done.add(function)
        names = set(_names(function.__code__))
        found |= names & _BY_RANK
        called = [function.__globals__.get(name) for name in names]
        waiting += [f for f in called if _is_of(f, package)] + _methods(cls, names)
    return ", ".join(sorted(found))


def _methods(cls: type, names: Iterable[str]) -> list[Any]:
    found = [vars(owner)[name] for owner in cls.__mro__ for name in names if name in vars(owner)]
    functions = (getattr(method, "__func__", method) for method in found)
    return [f for f in functions if _is_of(f, "") and not f.__module__.startswith("trainwright.data.")]


def _is_of(function: Any, package: str) -> bool:
    return isinstance(function, types.FunctionType) and function.__module__.startswith(package)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)
        elif isinstance(constant, str):
            yield constant


# the head: what the others need besides the records -------------------------------------------------------------------


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            head: dict[str, Any] = unpack(file.read())
    except FileNotFoundError:
        return {"kind": "none"}
    if head["kind"] == "failed":
        raise DataError(head["text"])
    return head


def _write(path: str, head: dict[str, Any]) -> None:
    with open(f"{path}.new", "wb") as file:
        file.write(pack(head))
    os.rename(f"{path}.new", path)


def _open(head: dict[str, Any], folder: RunFolder) -> MappedFile | None:
    if head["kind"] != "shared":
        return None
    try:
        return MappedFile.open(head["file"], folder)
    except FileNotFoundError:  # whoever read it needs it no more
        return None


def _load_first(dataset: Any, load: Callable[[], None], path: str) -> None:
    before, drawn = _digests(dataset), _streams()
    try:
        load()
    except Exception as error:
        if in_worker():  # its pass ends with it, and the next pass, of other workers, may succeed
            raise
        name = type(dataset).__name__
        text = (
            f"the annotations of {name} could not be read: another process of this run (number {os.getpid()}), which "
            f"reads them for all of this node, failed with {type(error).__name__}: {error}"
        )
        _write(path, {"kind": "failed", "text": text})
        raise
    file = _file_of(dataset)
    try:
        head = None if file is None else _head(dataset, file, before, drawn)
    except _NotPlainError as error:
        head = {"kind": "alone", "reason": str(error)}
        _tell_alone(dataset, head)
    _write(path, head or {"kind": "alone", "reason": ""})
    if head and file is not None:
        file.heads.append(path)


def _tell_alone(dataset: Any, head: dict[str, Any]) -> None:
    # Every process tells: only the main one's logger shows it, whichever was first.
    if head.get("reason"):
        print_log(f"every rank reads the annotations of {type(dataset).__name__} itself: {head['reason']}", "current")


def _file_of(dataset: Any) -> MappedFile | None:
    records, ends = (getattr(dataset, name, None) for name in _RECORDS[1:])
    if not isinstance(records, MappedArray) or not isinstance(ends, MappedArray):
        return None
    return records.file if records.file is ends.file else None


def _head(dataset: Any, file: MappedFile, before: dict[str, Any], drawn: tuple[Any, ...]) -> dict[str, Any]:
    now = _streams()
    return {
        "kind": "shared",
        "file": file.path,
        "n_bytes": len(dataset.data_bytes),
        "n_records": len(dataset.data_address),
        "changed": _changes(dataset, before),
        "gone": [name for name in before if name not in vars(dataset)],
        "streams": None if _canonical(now) == _canonical(drawn) else (_canonical(drawn), now),
    }


def _take_over(dataset: Any, head: dict[str, Any], file: MappedFile) -> bool:
    """False, with nothing done, when reading drew random numbers and this process would have drawn others."""
    if head["streams"] is not None:
        before, after = head["streams"]
        if before != _canonical(_streams()):
            return False
        _set_streams(after)
    for name in head["gone"]:
        vars(dataset).pop(name, None)
    for name, packed in head["changed"].items():
        vars(dataset)[name] = unpack(packed)
    dataset.data_bytes, dataset.data_address = arrays_of(file, head["n_bytes"], head["n_records"])
    return True


# attributes -----------------------------------------------------------------------------------------------------------


class _NotPlainError(Exception):
    """An attribute that cannot be handed over."""


def _digests(dataset: Any) -> dict[str, Any]:
    return {name: (value, _canonical(value)) for name, value in vars(dataset).items() if name != "pipeline"}


def _changes(dataset: Any, before: dict[str, Any]) -> dict[str, bytes]:
    changed = {}
    for name, value in vars(dataset).items():
        if name in _RECORDS[1:] or name == "pipeline":
            continue
        old, digest = before.get(name, (_MISSING, None))
        if old is _MISSING or digest != _canonical(value):
            try:
                changed[name] = pack(value)
            except Exception as error:
                raise _NotPlainError(f"its attribute {name!r} cannot be handed on: {error}") from error
    return changed


def _key(dataset: Any) -> str:
    """Names the dataset by its class and settings, and counts those that are equal in them."""
    parts = [type(dataset).__module__, type(dataset).__qualname__]
    parts += [f"{name}={_canonical(value)}" for name, value in sorted(vars(dataset).items()) if name != "pipeline"]
    file = getattr(dataset, "ann_file", None)
    if isinstance(file, str) and os.path.isfile(file):
        found = os.stat(file)
        parts.append(f"{found.st_size} {found.st_mtime_ns}")
    name = hashlib.blake2b("\n".join(parts).encode(errors="backslashreplace"), digest_size=12).hexdigest()
    _seen[name] += 1
    return f"{name}-{_seen[name]}"


def _canonical(value: Any) -> str:
    """A text that is equal for equal plain values, in every process."""
    if value is None or isinstance(value, (str, bytes, int, float, complex)):
        return f"{type(value).__name__}:{value!r}"
    kind = type(value).__qualname__
    if isinstance(value, Mapping):
        return f"{kind}{{{','.join(f'{_canonical(k)}={_canonical(v)}' for k, v in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"{kind}[{','.join(map(_canonical, value))}]"
    if isinstance(value, (set, frozenset)):
        return f"{kind}({','.join(sorted(map(_canonical, value)))})"
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{kind}:{value.dtype}{value.shape}{hashlib.blake2b(value.tobytes()).hexdigest()}"
    try:
        return f"{kind}:{hashlib.blake2b(pack(value)).hexdigest()}"
    except Exception:  # noqa: BLE001 - whatever pickling it raised, it is known by its kind alone
        return f"{kind}:{getattr(value, '__qualname__', '')}"


def _streams() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state(), torch.get_rng_state().numpy()


def _set_streams(states: tuple[Any, ...]) -> None:
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(torch.from_numpy(states[2].copy()))
