"""Collectives that give the same result with and without a process group. All ranks call them, in one order."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError
from trainwright.dist.own_group import chosen
from trainwright.dist.process import get_rank, get_world_size

_REDUCE_OPS = ("sum", "mean", "product", "min", "max", "band", "bor", "bxor")


def barrier(group: torch_dist.ProcessGroup | None = None) -> None:
    """Wait until every rank is here."""
    group = chosen(group)
    if get_world_size(group) > 1:
        torch_dist.barrier(group)


def all_reduce(data: torch.Tensor, op: str = "sum", group: torch_dist.ProcessGroup | None = None) -> None:
    """Reduce `data` over all ranks, in place. `op`: sum, mean, product, min, max, band, bor or bxor."""
    group = chosen(group)
    name = op.lower()
    if name not in _REDUCE_OPS:
        raise ConfigError(f"all_reduce has no op {op!r}; op is one of {', '.join(_REDUCE_OPS)}")
    world_size = get_world_size(group)
    if world_size == 1:
        return
    reduce_op = torch_dist.ReduceOp.SUM if name == "mean" else getattr(torch_dist.ReduceOp, name.upper())
    torch_dist.all_reduce(data, reduce_op, group)
    if name == "mean":  # gloo has no AVG
        if data.is_floating_point() or data.is_complex():
            data.div_(world_size)
        else:
            data.div_(world_size, rounding_mode="trunc")


def all_gather(data: torch.Tensor, group: torch_dist.ProcessGroup | None = None) -> list[torch.Tensor]:
    """The tensor of every rank, in rank order, on every rank; shapes and types must agree."""
    group = chosen(group)
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    gathered = [torch.empty_like(data) for _ in range(world_size)]
    torch_dist.all_gather(gathered, data.contiguous(), group)
    return gathered


def broadcast(data: torch.Tensor, src: int = 0, group: torch_dist.ProcessGroup | None = None) -> None:
    """Overwrite `data`, in place, with rank `src`'s; shapes and types must agree."""
    group = chosen(group)
    if get_world_size(group) > 1:
        flat = data.detach().contiguous()
        torch_dist.broadcast(flat, src, group)
        if flat.data_ptr() != data.data_ptr():
            data.detach().copy_(flat)


def all_gather_object(data: Any, group: torch_dist.ProcessGroup | None = None) -> list[Any]:
    """The picklable `data` of every rank, in rank order, on every rank."""
    group = chosen(group)
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    gathered: list[Any] = [None] * world_size
    torch_dist.all_gather_object(gathered, data, group)
    return gathered


def gather_object(data: Any, dst: int = 0, group: torch_dist.ProcessGroup | None = None) -> list[Any] | None:
    """The picklable `data` of every rank, in rank order, on rank `dst`; None on the others."""
    group = chosen(group)
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    gathered: list[Any] | None = [None] * world_size if get_rank(group) == dst else None
    torch_dist.gather_object(data, gathered, dst, group)
    return gathered


def broadcast_object_list(data: list[Any], src: int = 0, group: torch_dist.ProcessGroup | None = None) -> None:
    """Overwrite `data`, in place, with rank `src`'s list of picklable objects; the lengths must agree."""
    group = chosen(group)
    if get_world_size(group) > 1:
        torch_dist.broadcast_object_list(data, src, group)


def sync_random_seed(group: torch_dist.ProcessGroup | None = None) -> int:
    """A seed in [0, 2**31) that all ranks agree on: rank 0 draws it from numpy's global stream."""
    seed = [int(np.random.randint(2**31))]
    broadcast_object_list(seed, 0, group)
    return int(seed[0])
