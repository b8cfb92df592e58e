"""Collectives that give the same result with and without a process group. All ranks call them, in one order.

`data` is a tensor, or lists, tuples and dicts of tensors with the same structure on all ranks, on any device:
what the backend cannot send from there goes by way of the device that it has. Ranks named by `src` and `dst` are those
of the whole world, also with a `group`, as in torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError, RuleTypeError
from trainwright.dist.devices import get_comm_device, mapped, sending_device, tensors_in
from trainwright.dist.own_group import chosen
from trainwright.dist.process import get_rank, get_world_size

_REDUCE_OPS = ("sum", "mean", "product", "min", "max", "band", "bor", "bxor")


def barrier(group: torch_dist.ProcessGroup | None = None) -> None:
    """Wait until every rank is here."""
    group = chosen(group)
    if get_world_size(group) > 1:
        torch_dist.barrier(group)


def all_reduce(data: Any, op: str = "sum", group: torch_dist.ProcessGroup | None = None) -> None:
    """Reduce `data` over all ranks, in place. `op`: sum, mean, product, min, max, band, bor or bxor."""
    group = chosen(group)
    name = op.lower()
    if name not in _REDUCE_OPS:
        raise ConfigError(f"all_reduce has no op {op!r}; op is one of {', '.join(_REDUCE_OPS)}")
    world_size = get_world_size(group)
    if world_size == 1:
        return
    reduce_op = torch_dist.ReduceOp.SUM if name == "mean" else getattr(torch_dist.ReduceOp, name.upper())
    for tensor in tensors_in(data):
        sent = _ready(tensor, group)
        torch_dist.all_reduce(sent, reduce_op, group)
        if name == "mean":  # gloo has no AVG
            whole = not (sent.is_floating_point() or sent.is_complex())
            sent.div_(world_size, rounding_mode="trunc") if whole else sent.div_(world_size)
        _put_back(sent, tensor)


def all_gather(data: Any, group: torch_dist.ProcessGroup | None = None) -> list[Any]:
    """The data of every rank, in rank order, on every rank; shapes and types must agree."""
    group = chosen(group)
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    parts: list[list[torch.Tensor]] = [[] for _ in range(world_size)]
    for tensor in tensors_in(data):
        sent = _ready(tensor, group)
        gathered = [torch.empty_like(sent) for _ in range(world_size)]
        torch_dist.all_gather(gathered, sent, group)
        for part, one in zip(parts, gathered, strict=True):
            part.append(one.to(tensor.device))
    return [_filled(data, part) for part in parts]


def gather(data: Any, dst: int = 0, group: torch_dist.ProcessGroup | None = None) -> list[Any]:
    """The data of every rank, in rank order, on rank `dst`, and an empty list on the others; shapes must agree."""
    group = chosen(group)
    world_size = get_world_size(group)
    if world_size == 1:
        return [data]
    receives = get_rank() == dst
    parts: list[list[torch.Tensor]] = [[] for _ in range(world_size if receives else 0)]
    for tensor in tensors_in(data):
        sent = _ready(tensor, group)
        gathered = [torch.empty_like(sent) for _ in parts] if receives else None
        torch_dist.gather(sent, gathered, dst, group)
        for part, one in zip(parts, gathered or (), strict=True):
            part.append(one.to(tensor.device))
    return [_filled(data, part) for part in parts]


def broadcast(data: Any, src: int = 0, group: torch_dist.ProcessGroup | None = None) -> None:
    """Overwrite `data`, in place, with rank `src`'s; shapes and types must agree."""
    group = chosen(group)
    if get_world_size(group) > 1:
        for tensor in tensors_in(data):
            sent = _ready(tensor, group)
            torch_dist.broadcast(sent, src, group)
            _put_back(sent, tensor)


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
    gathered: list[Any] | None = [None] * world_size if get_rank() == dst else None
    torch_dist.gather_object(data, gathered, dst, group)
    return gathered


def broadcast_object_list(data: list[Any], src: int = 0, group: torch_dist.ProcessGroup | None = None) -> None:
    """Overwrite `data`, in place, with rank `src`'s list of picklable objects; the lengths must agree."""
    if not isinstance(data, list):
        raise RuleTypeError(
            f"broadcast_object_list overwrites a list in place, but got {type(data).__name__}: give it [data]."
        )
    group = chosen(group)
    if get_world_size(group) > 1:
        torch_dist.broadcast_object_list(data, src, group)


def sync_random_seed(group: torch_dist.ProcessGroup | None = None) -> int:
    """A seed in [0, 2**31) that all ranks agree on: the first one draws it from numpy's global stream."""
    group = chosen(group)
    seed = int(np.random.randint(2**31))
    if get_world_size(group) == 1:
        return seed
    told = torch.tensor(seed, dtype=torch.int64, device=get_comm_device(group))
    torch_dist.broadcast(told, 0 if group is None else torch_dist.get_global_rank(group, 0), group)
    return int(told)


def _ready(tensor: torch.Tensor, group: torch_dist.ProcessGroup | None) -> torch.Tensor:
    """`tensor` itself where it can be sent as it is, otherwise a copy that can."""
    return tensor.detach().to(sending_device(tensor.device, group)).contiguous()


def _put_back(sent: torch.Tensor, tensor: torch.Tensor) -> None:
    if sent.data_ptr() != tensor.data_ptr() or sent.device != tensor.device:
        tensor.detach().copy_(sent)


def _filled(data: Any, tensors: list[torch.Tensor]) -> Any:
    """The structure of `data` with other tensors."""
    rest = iter(tensors)
    return mapped(data, lambda _: next(rest))
