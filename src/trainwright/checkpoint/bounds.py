"""Bounds on a tree that was read: no container in itself, none nested too deep, none that stands for far too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainwright.base.errors import CheckpointError

MAX_DEPTH = 200
MAX_VALUES = 50_000_000
_HARMLESS_BYTES = 1 << 20
_CONTAINERS = (Mapping, list, tuple, set, frozenset)


def check_tree(path: str, tree: Any, n_bytes: int | None = None) -> None:
    """CheckpointError unless ``tree`` can be walked and copied: no container holds itself, none is nested deeper than
    :data:`MAX_DEPTH`, and with what stands in several places counted each time it has at most :data:`MAX_VALUES`
    values. Lists that hold one list twice, thirty deep, are a few bytes of a file and a billion values. Nor may a run
    of bytes be longer than the ``n_bytes`` of the file: ``bytearray(10**12)`` is short to write."""
    longest = None if n_bytes is None else max(n_bytes, _HARMLESS_BYTES)
    sizes: dict[int, tuple[int, int]] = {}  # of what has been walked: values and depth
    open_: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(tree, False)]
    while waiting:
        value, is_done = waiting.pop()
        if is_done:
            open_.discard(id(value))
            n_values, depth = _measure(value, sizes)
            if longest is not None and any(
                isinstance(v, (bytes, bytearray)) and len(v) > longest for v in _items(value)
            ):
                raise _refused(path, "it has more bytes in one piece than there are in the file")
            if n_values > MAX_VALUES:
                raise _refused(path, f"its containers stand for more than {MAX_VALUES:,} values")
            if depth > MAX_DEPTH:
                raise _refused(path, f"its containers are nested deeper than {MAX_DEPTH}")
            sizes[id(value)] = n_values, depth
            continue
        if id(value) in sizes:
            continue
        if id(value) in open_:
            raise _refused(path, f"a {type(value).__name__} in it holds itself")
        open_.add(id(value))
        waiting.append((value, True))
        waiting.extend((item, False) for item in _items(value) if isinstance(item, _CONTAINERS))


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [*value.values(), *(key for key in value if isinstance(key, (tuple, frozenset)))]
    return list(value) if isinstance(value, _CONTAINERS) else []


def _measure(value: Any, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    n_values, depth = 1, 0
    for item in _items(value):
        n_inside, below = sizes.get(id(item), (1, 0))
        n_values += n_inside
        depth = max(depth, below)
    return n_values, depth + 1


def _refused(path: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path!r} was refused: {why}. No training makes such a file; nothing of it was used."
    )
