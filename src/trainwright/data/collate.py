"""From a list of samples to a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import default_collate as torch_default_collate

from trainwright.base.errors import DataError
from trainwright.registry import FUNCTIONS

Leaf = Callable[[Sequence[Any], str], Any]


@FUNCTIONS.register_module()
def pseudo_collate(data_batch: Sequence[Any]) -> Any:
    """Transpose a list of structures into a structure of lists; nothing is stacked, so shapes may differ.

    ``[{"x": a, "y": 0}, {"x": b, "y": 1}]`` becomes ``{"x": [a, b], "y": [0, 1]}``; below a sequence, tuples take
    the place of the lists. Needs a preprocessor that stacks.
    """
    return _transpose(data_batch, lambda leaves, where: leaves, "")


@FUNCTIONS.register_module()
def default_collate(data_batch: Sequence[Any]) -> Any:
    """As ``pseudo_collate``, with tensors, arrays and numbers stacked along a new first axis.

    Strings, None and data elements (objects with ``to_dict``) stay lists.
    """
    return _transpose(data_batch, _stack, "")


def _transpose(items: Sequence[Any], leaf: Leaf, where: str) -> Any:
    first = items[0]
    kind: Any = type(first)
    if isinstance(first, (str, bytes)):
        return items
    if isinstance(first, Mapping):
        _require_kind(items, Mapping, where)
        _require(items, first, where)
        return kind({key: _transpose([item[key] for item in items], leaf, f"{where}[{key!r}]") for key in first})
    if not isinstance(first, Sequence):
        return leaf(items, where)
    _require_kind(items, Sequence, where)
    if any(len(item) != len(first) for item in items):
        raise DataError(
            f"cannot collate samples{_at(where)}: their lengths differ ({[len(item) for item in items]}); "
            "give every sample the same fields"
        )
    columns = [_transpose(column, leaf, f"{where}[{n}]") for n, column in enumerate(zip(*items, strict=True))]
    if hasattr(first, "_fields"):
        return kind(*columns)
    if isinstance(first, tuple):
        return columns
    try:
        return kind(columns)
    except TypeError:  # a sequence such as range, which is not made from a list
        return columns


def _stack(leaves: Any, where: str) -> Any:
    first = leaves[0]
    if first is None:
        _require_kind(leaves, type(None), where)
        return leaves
    if hasattr(first, "to_dict"):
        return leaves
    try:
        return torch_default_collate(leaves)
    except (RuntimeError, TypeError, ValueError) as error:
        shapes = [tuple(leaf.shape) if hasattr(leaf, "shape") else type(leaf).__name__ for leaf in leaves]
        odd = next((n for n, shape in enumerate(shapes) if shape != shapes[0]), None)
        which = "" if odd is None else f": sample 0 of the batch has {shapes[0]}, sample {odd} has {shapes[odd]}"
        raise DataError(
            f"cannot stack samples{_at(where)}{which} ({error}); give them one shape in the pipeline, or use "
            "collate_fn=dict(type='pseudo_collate') and stack in the data preprocessor"
        ) from error


def _require_kind(items: Sequence[Any], kind: type, where: str) -> None:
    for n, item in enumerate(items):
        if not isinstance(item, kind):
            raise DataError(
                f"cannot collate samples{_at(where)}: sample 0 of the batch has a {type(items[0]).__name__}, sample "
                f"{n} a {type(item).__name__}; give every sample the same kind of value"
            )


def _require(items: Sequence[Any], first: Mapping[Any, Any], where: str) -> None:
    for n, item in enumerate(items):
        missing = [key for key in first if key not in item]
        if missing:
            raise DataError(
                f"cannot collate samples{_at(where)}: sample {n} of the batch has no {missing[0]!r}, which sample 0 "
                "has; give every sample the same keys"
            )


def _at(where: str) -> str:
    return f" at {where}" if where else ""
