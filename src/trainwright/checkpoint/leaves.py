"""A tree as a flat table: the place of each value and the value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from trainwright.base.text import brief


class Leaf(NamedTuple):
    """A tensor or plain value, and where in the tree it stands."""

    place: str
    value: Any


def leaves(tree: Any, place: str = "") -> Iterator[Leaf]:
    """All that is no container, in the order of the tree. An empty container is a value too."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{place}.{key}" if place else str(key))
    elif isinstance(tree, (list, tuple)) and tree:
        for at, value in enumerate(tree):
            yield from leaves(value, f"{place}[{at}]")
    else:
        yield Leaf(place, tree)


def tensors_of(tree: Any) -> Iterator[Leaf]:
    """The tensors among the leaves."""
    return (leaf for leaf in leaves(tree) if isinstance(leaf.value, torch.Tensor))


def n_bytes(tree: Any) -> int:
    """Bytes of the tensors in a tree; of two views of the same numbers only once."""
    seen: dict[Any, int] = {}
    for leaf in tensors_of(tree):
        tensor = leaf.value
        storage = tensor.untyped_storage() if tensor.layout is torch.strided else None
        key = id(tensor) if storage is None or not storage.data_ptr() else (storage.data_ptr(), str(tensor.device))
        own = tensor.numel() * tensor.element_size()
        seen[key] = max(seen.get(key, 0), own if storage is None else min(own, storage.nbytes()))
    return sum(seen.values())


def in_words(value: Any) -> str:
    """A tensor by type and shape, another value as it is, shortened."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype)[6:]}{list(value.shape)}"
    return brief(value, 60)
