"""Plain data: what a checkpoint may hold so that it can always be read without running code."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

_BASES: tuple[Any, ...] = (int, float, str, bytes)  # of enums and other subclasses
_ATOMS = (bool, int, float, str, bytes, complex, torch.dtype, torch.device)


class NotPlainError(TypeError):
    """A value that is neither a tensor nor plain data; carries where in the tree it stands."""

    def __init__(self, where: str, value: Any) -> None:
        super().__init__(f"{where or 'the value'} is a {type(value).__module__}.{type(value).__qualname__}")
        self.where = where


def to_plain(value: Any, where: str = "") -> Any:
    """``value`` as tensors, numbers, text, None, lists, tuples, sets and dicts of the builtin types.

    NumPy scalars become numbers and arrays tensors; subclasses of the builtin containers (ConfigDict, named tuples)
    become plain ones. Anything else raises NotPlainError with its place in the tree.
    """
    kind = type(value)
    if value is None or kind in _ATOMS:
        return value
    if isinstance(value, torch.Tensor):
        return _plain_tensor(value)
    if kind is OrderedDict:
        ordered = OrderedDict((k, to_plain(v, f"{where}[{k!r}]")) for k, v in value.items())
        vars(ordered).update(vars(value))  # a module's state_dict carries its version table as an attribute
        return ordered
    if isinstance(value, Mapping):
        return {to_plain(k, f"{where}[{k!r}]"): to_plain(v, f"{where}[{k!r}]") for k, v in value.items()}
    if isinstance(value, (list, tuple, torch.Size)):
        items = [to_plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, (set, frozenset)):
        return {to_plain(v, where) for v in value}
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain_numpy(value, where)
    for atom in _BASES:
        if isinstance(value, atom):
            return atom(value)
    raise NotPlainError(where, value)


def _plain_tensor(value: torch.Tensor) -> torch.Tensor:
    """Without attributes and without a class of its own: reading those back would need code."""
    kind = type(value)
    is_plain = kind in (torch.Tensor, torch.nn.Parameter) and not vars(value)
    # A class that computes on tensors inside (DTensor) has no data outside of itself; its room says how to save it.
    if is_plain or kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        return value
    with torch._C.DisableTorchFunctionSubclass():
        return value.detach().as_subclass(torch.Tensor)


def _plain_numpy(value: np.generic | np.ndarray[Any, Any], where: str) -> Any:
    if value.dtype.kind in "SUV" and isinstance(value, np.generic):
        return to_plain(value.item(), where)
    if value.dtype.kind not in "biufc" or value.dtype.itemsize > (16 if value.dtype.kind == "c" else 8):
        raise NotPlainError(where, value)
    if isinstance(value, np.generic):
        return value.item()
    # A copy of its own, writable, in this machine's byte order.
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))


def plain_items(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The items that can be saved, as plain data, and the names of those that cannot."""
    kept: dict[str, Any] = {}
    dropped: list[str] = []
    for name, value in values.items():
        plain = _plain_or_none(value, name)
        if plain is None and value is not None:
            dropped.append(name)
        else:
            kept[name] = plain
    return kept, dropped


def _plain_or_none(value: Any, where: str) -> Any:
    try:
        return to_plain(value, where)
    except NotPlainError:
        return None
