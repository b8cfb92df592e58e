"""A thin layer over torch.distributed: the same calls, and the same results, with and without a process group."""

from trainwright.dist.collectives import (
    all_gather_object,
    all_reduce,
    barrier,
    broadcast_object_list,
    gather_object,
    sync_random_seed,
)
from trainwright.dist.process import (
    get_dist_info,
    get_rank,
    get_world_size,
    is_distributed,
    is_main_process,
    master_only,
)
from trainwright.dist.results import collect_results, interleave

__all__ = [
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast_object_list",
    "collect_results",
    "gather_object",
    "get_dist_info",
    "get_rank",
    "get_world_size",
    "interleave",
    "is_distributed",
    "is_main_process",
    "master_only",
    "sync_random_seed",
]
