"""detectron2.utils.comm: what ranks tell each other, over trainwright.dist."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import distributed as torch_dist

from trainwright import dist
from trainwright.dist import get_rank, get_world_size, is_main_process

__all__ = [
    "all_gather",
    "create_local_process_group",
    "gather",
    "get_local_process_group",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "reduce_dict",
    "shared_random_seed",
    "synchronize",
]


@cache
def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make the group of the ranks on this machine, each of which has as many; all ranks call this once."""
    dist.init_local_group(get_rank() // num_workers_per_machine, num_workers_per_machine)


def get_local_process_group() -> torch_dist.ProcessGroup | None:
    """The group that was made; None without a process group."""
    return dist.get_local_group()


def get_local_rank() -> int:
    """Rank among those of this machine; 0 without a process group."""
    return dist.get_local_rank()


def get_local_size() -> int:
    """Number of ranks on this machine; 1 without a process group."""
    return dist.get_local_size()


def synchronize() -> None:
    """Wait for all ranks."""
    dist.barrier()


def all_gather(data: Any, group: torch_dist.ProcessGroup | None = None) -> list[Any]:
    """The picklable ``data`` of every rank, in rank order, on every rank."""
    return dist.all_gather_object(data, group)


def gather(data: Any, dst: int = 0, group: torch_dist.ProcessGroup | None = None) -> list[Any]:
    """The picklable ``data`` of every rank, in rank order, on rank ``dst``; an empty list on the others."""
    return dist.gather_object(data, dst, group) or []


def shared_random_seed() -> int:
    """A seed that all ranks agree on."""
    return dist.sync_random_seed()


def reduce_dict(input_dict: dict[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """On rank 0 a dict with the means over all ranks (sums where not ``average``); the others get parts of those."""
    if get_world_size() < 2:
        return input_dict
    names = sorted(input_dict)  # in the same order on all ranks
    with torch.no_grad():
        values = torch.stack([input_dict[name] for name in names])
        torch_dist.reduce(values, dst=0)
        if average and get_rank() == 0:
            values /= get_world_size()
    return dict(zip(names, values, strict=True))
