"""Tensors of which every rank holds a part (DTensors): made whole, and cut again. Plain tensors pass through."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch

from trainwright.dist.process import is_main_process

_keeps_shards: ContextVar[bool] = ContextVar("keeps_shards", default=False)


@contextmanager
def keeping_shards() -> Iterator[None]:
    """Within it :func:`gathered` gathers nothing: for states that each rank keeps, or writes, its own part of."""
    before = _keeps_shards.set(True)
    try:
        yield
    finally:
        _keeps_shards.reset(before)


def keeps_shards() -> bool:
    """Whether this is within :func:`keeping_shards`."""
    return _keeps_shards.get()


def is_sharded(tensor: Any) -> bool:
    """Whether `tensor` is one that knows how it is spread over ranks."""
    module = sys.modules.get("torch.distributed.tensor")  # not imported: then there is none
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> Any:
    """This rank's part, sharing memory; call it where no gradient is recorded."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Any) -> Any:
    """The whole of a tensor on every rank, where it lies. All ranks call this."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor in the memory of rank 0's CPU. All ranks call this.

    Of a sharded one the other ranks get a tensor on the meta device: its shape and type, without memory. The result
    shares no memory with a sharded tensor; a plain one that lies on the CPU is not copied. Within
    :func:`keeping_shards` a sharded tensor stays what it is.
    """
    if not is_sharded(tensor):
        return tensor.detach().cpu()
    if _keeps_shards.get():
        return tensor.detach()
    full: torch.Tensor = whole(tensor.detach())
    return full.to("cpu", copy=True) if is_main_process() else full.to("meta")


def gathered_tree(value: Any) -> Any:
    """:func:`gathered` for each sharded tensor inside dicts, lists and tuples; everything else stays the same."""
    if isinstance(value, Mapping):
        return {key: gathered_tree(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(gathered_tree(item) for item in value)
    return gathered(value) if is_sharded(value) else value


def laid_out_as(value: Any, like: Any) -> Any:
    """`value`, of which this rank has the whole, spread as `like` is; nothing is sent."""
    if not is_sharded(like) or not isinstance(value, torch.Tensor) or is_sharded(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.detach(), like.device_mesh, like.placements, src_data_rank=None)
