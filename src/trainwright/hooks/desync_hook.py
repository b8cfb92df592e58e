"""Whether the ranks still hold the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError, DesyncError
from trainwright.dist import all_gather_object, get_dist_info, is_sharded
from trainwright.engine import Hook
from trainwright.registry import HOOKS


@HOOKS.register_module()
class DesyncCheckHook(Hook):
    """Compares the weights of the ranks every `interval` iterations, and stops a run in which they have parted.

    Ranks that train together hold equal weights, bit for bit. A hook that changes them on one rank alone, a parameter
    left out of the exchange of gradients or a damaged memory cell parts them, and nothing else says so: each loss looks
    right. What is exchanged is 8 bytes a rank; only when these differ, those of each weight, to name the first. Off
    unless it is named; one check of 20 million numbers takes about 50 ms on a CPU. Buffers of batch norm differ between
    ranks by nature and are left out, as are parameters that are sharded.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int = 1000) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ConfigError(f"interval of DesyncCheckHook must be a whole number of at least 1, got {interval!r}")
        self.interval = interval

    def next_train_iter(self, runner: Any) -> int:
        """The iteration after which it looks next."""
        return int(runner.iter // self.interval + 1) * self.interval - 1

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look."""
        if (runner.iter + 1) % self.interval == 0:
            check_in_step(runner.strategy.unwrapped_model, runner.iter + 1)


def check_in_step(model: nn.Module, iteration: int) -> None:
    """Raise DesyncError, on all ranks, where a parameter differs between them; all ranks call this."""
    if get_dist_info()[1] == 1:
        return
    named = [(name, value) for name, value in model.named_parameters() if not is_sharded(value)]
    prints = [fingerprint(value) for _, value in named]
    whole = torch.stack(prints) if prints else torch.zeros(1, dtype=torch.int64)
    weights = torch.arange(1, len(whole) + 1, device=whole.device) * 2 + 1
    by_rank = all_gather_object(int((whole * weights).sum()))
    if len(set(by_rank)) == 1:
        return
    each = all_gather_object([int(value) for value in prints])
    at = next(n for n in range(len(named)) if len({one[n] for one in each}) > 1)
    raise DesyncError(_text(named[at][0], [one[at] for one in each], len(named), iteration))


def _text(name: str, prints: Sequence[int], n_parameters: int, iteration: int) -> str:
    usual = max(set(prints), key=list(prints).count)
    odd = [rank for rank, value in enumerate(prints) if value != usual]
    return (
        f"the ranks hold different weights after iteration {iteration}: {name}, the first of {n_parameters} parameters "
        f"to differ, is another one on rank {', '.join(map(str, odd))}. Something changed it there alone: a hook that "
        "runs on one rank, a parameter outside the wrapped model, a damaged device. Resume from a checkpoint before "
        "that; a smaller interval of DesyncCheckHook finds the iteration"
    )


def fingerprint(value: torch.Tensor) -> torch.Tensor:
    """64 bits of all bits of a tensor and their places, on its device; whole numbers, so that their order is free."""
    data = value.detach().contiguous().reshape(-1).view(torch.uint8)
    padding = -data.numel() % 4
    if padding:
        data = torch.cat([data, data.new_zeros(padding)])
    words = data.view(torch.int32).long()
    places = torch.arange(words.numel(), device=words.device)
    return (words * (places * 0x9E3779B1 + 0x7F4A7C15 | 1)).sum()
