"""Small questions around a run, as mmengine.runner.utils has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader

from trainwright.base.errors import ConfigError, demand
from trainwright.base.logs import print_log
from trainwright.dist import get_rank
from trainwright.strategies.environment import Randomness, set_randomness


def calc_dynamic_intervals(
    start_interval: int, dynamic_interval_list: list[tuple[int, int]] | None = None
) -> tuple[list[int], list[int]]:
    """Milestones, of which the first is 0, and the interval from each on."""
    pairs = [] if dynamic_interval_list is None else dynamic_interval_list
    demand(
        isinstance(pairs, list) and all(isinstance(pair, tuple) for pair in pairs),
        f"dynamic_interval_list must be a list of tuples (milestone, interval), got {dynamic_interval_list!r}",
    )
    return [0, *(milestone for milestone, _ in pairs)], [start_interval, *(interval for _, interval in pairs)]


def set_random_seed(seed: int | None = None, deterministic: bool = False, diff_rank_seed: bool = False) -> int:
    """Seed Python, NumPy and torch; returns the seed of this process.

    Without a `seed` all ranks draw one together; with `diff_rank_seed` each adds its rank. `deterministic`: only
    algorithms that give the same numbers each time.
    """
    if deterministic and torch.backends.cudnn.benchmark:
        print_log(
            "torch.backends.cudnn.benchmark becomes False: it would choose algorithms by their speed",
            "current",
            logging.WARNING,
        )
    rank = get_rank()
    used = set_randomness(Randomness(seed=seed, diff_rank_seed=diff_rank_seed, deterministic=deterministic), rank)
    return used + rank if diff_rank_seed else used


def _get_batch_size(dataloader: Any) -> int:
    """Of a loader or its config."""
    if isinstance(dataloader, Mapping):
        if "batch_size" in dataloader:
            return dataloader["batch_size"]  # type: ignore[no-any-return]
        if "batch_size" in dataloader.get("batch_sampler", {}):
            return dataloader["batch_sampler"]["batch_size"]  # type: ignore[no-any-return]
        raise ConfigError("a dataloader has its batch_size neither itself nor in its batch_sampler: set batch_size=...")
    if isinstance(dataloader, DataLoader):
        return dataloader.batch_sampler.batch_size  # type: ignore[union-attr, no-any-return]
    raise ConfigError(f"dataloader must be a dict or a DataLoader, but got {type(dataloader).__name__}")
