"""The ranks of one machine as a group of their own."""

from __future__ import annotations

from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError, LocalGroupError
from trainwright.dist.process import get_rank, get_world_size, is_distributed

_local: torch_dist.ProcessGroup | None = None


def get_default_group() -> torch_dist.ProcessGroup | None:
    """The group of all ranks; None without one."""
    return torch_dist.group.WORLD


def init_local_group(node_rank: int, num_gpus_per_node: int) -> None:
    """Make the group of the ranks on this machine, the `node_rank`-th, of which each has `num_gpus_per_node` ranks.

    All ranks call this, once. Without a process group there is nothing to make.
    """
    global _local
    if not is_distributed():
        return
    if _local is not None:
        raise ConfigError("init_local_group was called before: there is one local group in a run (get_local_group()).")
    rank, world_size = get_rank(), get_world_size()
    if num_gpus_per_node < 1 or world_size % num_gpus_per_node:
        raise ConfigError(
            f"num_gpus_per_node={num_gpus_per_node} does not divide the {world_size} ranks of this run: it is the "
            "number of processes on each machine."
        )
    if node_rank != rank // num_gpus_per_node:
        raise ConfigError(
            f"node_rank={node_rank} with num_gpus_per_node={num_gpus_per_node} would hold the ranks from "
            f"{node_rank * num_gpus_per_node} on, and this is rank {rank}: it is on node {rank // num_gpus_per_node}."
        )
    firsts = range(0, world_size, num_gpus_per_node)
    groups = [torch_dist.new_group(list(range(first, first + num_gpus_per_node))) for first in firsts]  # all make all
    _local = groups[node_rank]


def forget_local_group() -> None:
    """The process group ends."""
    global _local
    _local = None


def get_local_group() -> torch_dist.ProcessGroup | None:
    """The group that :func:`init_local_group` made; None without a process group."""
    if not is_distributed():
        return None
    if _local is None:
        raise LocalGroupError(
            "there is no local process group yet: call `init_local_group(node_rank, num_gpus_per_node)` on all ranks."
        )
    return _local


def get_local_size() -> int:
    """Number of processes on this machine; 1 without a process group."""
    group = get_local_group()
    return 1 if group is None else get_world_size(group)


def get_local_rank() -> int:
    """Rank of this process among those of its machine; 0 without a process group."""
    group = get_local_group()
    return 0 if group is None else get_rank(group)
