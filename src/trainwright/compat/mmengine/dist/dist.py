"""Names of mmengine.dist.dist."""

from trainwright.dist.collectives import (
    all_gather,
    all_gather_object,
    all_reduce,
    broadcast,
    broadcast_object_list,
    gather,
    gather_object,
    sync_random_seed,
)
from trainwright.dist.params import all_reduce_dict, all_reduce_params
from trainwright.dist.results import collect_results, collect_results_cpu, collect_results_gpu

__all__ = [
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "all_reduce_dict",
    "all_reduce_params",
    "broadcast",
    "broadcast_object_list",
    "collect_results",
    "collect_results_cpu",
    "collect_results_gpu",
    "gather",
    "gather_object",
    "sync_random_seed",
]
