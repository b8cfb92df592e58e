"""A state tree as two parts: its tensors by name, and the rest with a mark where each of them stood."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainwright.checkpoint.tensor_files import DTYPES

_MARK = "\0tensor"


class TensorTable:
    """The tensors of a tree under their dotted place in it, such as ``state_dict.layer.weight``.

    The same tensor in two places, as of tied weights, is kept once.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[Any, ...], str] = {}

    def take_out(self, tree: Any) -> Any:
        """``tree`` with marks in place of its tensors, which are kept here. What safetensors cannot hold stays in."""
        return self._without(tree, ())

    def _without(self, value: Any, place: tuple[str, ...]) -> Any:
        if isinstance(value, Tensor):
            return {_MARK: self._named(value, place)} if is_storable(value) else value
        if isinstance(value, Mapping):
            items = {key: self._without(item, (*place, str(key))) for key, item in value.items()}
            if isinstance(value, OrderedDict):
                ordered = OrderedDict(items)
                vars(ordered).update(vars(value))  # a module's state_dict carries its version table as an attribute
                return ordered
            return items
        if isinstance(value, (list, tuple)):
            return type(value)(self._without(item, (*place, str(at))) for at, item in enumerate(value))
        return value

    def _named(self, tensor: Tensor, place: tuple[str, ...]) -> str:
        same = _identity(tensor)
        if same is not None and same in self._names:
            return self._names[same]
        name = unused = ".".join(place)
        n_same = 1
        while unused in self.tensors:  # 1 and "1" are two keys of a dict, and one text
            n_same += 1
            unused = f"{name}#{n_same}"
        self.tensors[unused] = tensor
        if same is not None:
            self._names[same] = unused
        return unused


def put_back(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree with its tensors where their marks are. KeyError for a mark whose tensor there is not."""
    if isinstance(tree, dict):
        if len(tree) == 1 and _MARK in tree:
            return tensors[tree[_MARK]]
        if isinstance(tree, OrderedDict):
            filled = OrderedDict((key, put_back(item, tensors)) for key, item in tree.items())
            vars(filled).update(vars(tree))
            return filled
        return {key: put_back(item, tensors) for key, item in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(put_back(item, tensors) for item in tree)
    return tree


def is_storable(tensor: Tensor) -> bool:
    """Whether a safetensors file can hold it: dense, and of a type that the format knows."""
    is_dense = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type != "meta"
    return is_dense and tensor.dtype in DTYPES


def _identity(tensor: Tensor) -> tuple[Any, ...] | None:
    """Equal for two views of the same numbers; None where that cannot be told."""
    if hasattr(tensor, "device_mesh") or not tensor.numel():
        return None
    return tensor.device, tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype
