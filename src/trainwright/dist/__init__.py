"""A thin layer over torch.distributed: the same calls, and the same results, with and without a process group."""

from trainwright.dist.axes import data_axis, data_group, data_info, has_main, set_data_axis
from trainwright.dist.collectives import (
    all_gather,
    all_gather_object,
    all_reduce,
    barrier,
    broadcast,
    broadcast_object_list,
    gather_object,
    sync_random_seed,
)
from trainwright.dist.launch import check_launcher, cleanup, group_store, infer_launcher, init_dist
from trainwright.dist.own_group import background_group, drop_group, on_group
from trainwright.dist.process import (
    get_dist_info,
    get_rank,
    get_world_size,
    is_distributed,
    is_main_process,
    master_only,
)
from trainwright.dist.results import collect_results, interleave
from trainwright.dist.shards import (
    gathered,
    gathered_tree,
    is_sharded,
    keeping_shards,
    keeps_shards,
    laid_out_as,
    local,
    norm_of_each,
    own_part,
    whole,
)
from trainwright.dist.together import failing_together, from_main

__all__ = [
    "all_gather",
    "all_gather_object",
    "all_reduce",
    "background_group",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "check_launcher",
    "cleanup",
    "collect_results",
    "data_axis",
    "data_group",
    "data_info",
    "drop_group",
    "failing_together",
    "from_main",
    "gather_object",
    "gathered",
    "gathered_tree",
    "get_dist_info",
    "get_rank",
    "get_world_size",
    "group_store",
    "has_main",
    "infer_launcher",
    "init_dist",
    "interleave",
    "is_distributed",
    "is_main_process",
    "is_sharded",
    "keeping_shards",
    "keeps_shards",
    "laid_out_as",
    "local",
    "master_only",
    "norm_of_each",
    "own_part",
    "on_group",
    "set_data_axis",
    "sync_random_seed",
    "whole",
]
