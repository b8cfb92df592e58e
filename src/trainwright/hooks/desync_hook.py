"""Whether the ranks still hold the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError, DesyncError
from trainwright.dist import all_gather_object, get_dist_info, is_sharded, local
from trainwright.engine import Hook
from trainwright.registry import HOOKS


@HOOKS.register_extra
class DesyncCheckHook(Hook):
    """Compares the weights of the ranks every `interval` iterations, and stops a run in which they have parted.

    Ranks that train together hold equal weights, bit for bit. A hook that changes them on one rank alone, a parameter
    left out of the exchange of gradients or a damaged memory cell parts them, and nothing else says so: each loss looks
    right. What is exchanged is 8 bytes a rank; only when these differ, those of each weight, to name the first. Off
    unless it is named; one check of 20 million numbers takes about 50 ms on a CPU.

    Of a parameter in parts, ranks that hold the same part are compared: the copies of FSDPStrategy(replicate=...), and
    what a tensor group holds whole. Where each rank has a part of its own there is nothing to compare. `buffers`: those
    too; of batch norm they differ by nature, unless SyncBuffersHook averages them. `before_save`: also before each
    checkpoint, so that none is written of ranks that have parted.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int = 1000, buffers: bool = False, before_save: bool = False) -> None:
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ConfigError(f"interval of DesyncCheckHook must be a whole number of at least 1, got {interval!r}")
        self.interval, self.buffers, self.before_save = interval, buffers, before_save

    def next_train_iter(self, runner: Any) -> int:
        """The iteration after which it looks next."""
        return int(runner.iter // self.interval + 1) * self.interval - 1

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look."""
        if (runner.iter + 1) % self.interval == 0:
            check_in_step(runner.strategy.unwrapped_model, runner.iter + 1, self.buffers)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Look, where that is wished for."""
        if self.before_save:
            check_in_step(runner.strategy.unwrapped_model, runner.ctx.clock.as_completed().iter, self.buffers)


def check_in_step(model: nn.Module, iteration: int, buffers: bool = False) -> None:
    """Raise DesyncError, on all ranks, where a parameter differs between ranks that hold the same part of it; with
    ``buffers`` a buffer too. All ranks call this."""
    if get_dist_info()[1] == 1:
        return
    named: list[tuple[str, torch.Tensor]] = list(model.named_parameters())
    if buffers:
        named += list(model.named_buffers())
    parts = [_part(value) for _, value in named]
    with torch.no_grad():
        prints = torch.stack([fingerprint(local(value)) for _, value in named] or [torch.zeros((), dtype=torch.int64)])
    # One number for each kind of part that this rank holds; ranks compare those that they have in common.
    sums: dict[str, int] = {}
    for part in dict.fromkeys(parts):
        own = torch.tensor([n for n, other in enumerate(parts) if other == part], device=prints.device)
        sums[part] = int((prints[own] * (own * 2 + 1)).sum())
    by_rank = all_gather_object(sums)
    if all(len({other[part] for other in by_rank if part in other}) == 1 for one in by_rank for part in one):
        return
    each = all_gather_object([(part, int(value)) for part, value in zip(parts, prints, strict=False)])
    for n, (name, _) in enumerate(named):
        odd = _odd([one[n] for one in each])
        if odd:
            raise DesyncError(_text(name, odd, len(named), iteration))


def _part(value: torch.Tensor) -> str:
    """Which part of a tensor this rank holds: the same text on ranks that hold the same one, "" for the whole."""
    if not is_sharded(value):
        return ""
    tensor: Any = value
    place = tensor.device_mesh.get_coordinate()
    return ", ".join(
        f"{tensor.device_mesh.mesh_dim_names or ''}{dim}:{place[dim]}"
        for dim, placement in enumerate(tensor.placements)
        if not placement.is_replicate()
    )


def _odd(prints: Sequence[tuple[str, int]]) -> list[int]:
    """The ranks whose part is not that of most who hold the same one."""
    odd: list[int] = []
    for part in {part for part, _ in prints}:
        own = {rank: value for rank, (other, value) in enumerate(prints) if other == part}
        usual = max(own.values(), key=list(own.values()).count)
        odd += [rank for rank, value in own.items() if value != usual]
    return sorted(odd)


def _text(name: str, odd: Sequence[int], n_values: int, iteration: int) -> str:
    return (
        f"the ranks hold different weights after iteration {iteration}: {name}, the first of {n_values} parameters "
        f"to differ, is another one on rank {', '.join(map(str, odd))}. Something changed it there alone: a hook that "
        "runs on one rank, a parameter outside the wrapped model, a damaged device. Resume from a checkpoint before "
        "that; a smaller interval of DesyncCheckHook finds the iteration"
    )


def fingerprint(value: torch.Tensor) -> torch.Tensor:
    """64 bits of all bits of a tensor and their places, on its device; whole numbers, so that their order is free."""
    data = value.detach().contiguous().reshape(-1).view(torch.uint8)
    padding = -data.numel() % 4
    if padding or data.storage_offset() % 4:  # a view into the middle of something cannot be read in words either
        data = torch.cat([data, data.new_zeros(padding)])
    words = data.view(torch.int32).long()
    places = torch.arange(words.numel(), device=words.device)
    return (words * (places * 0x9E3779B1 + 0x7F4A7C15 | 1)).sum()
