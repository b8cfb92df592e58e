"""Gives the sampler a new order for every epoch."""

from __future__ import annotations

from typing import Any

from trainwright.engine import Hook
from trainwright.registry import HOOKS


@HOOKS.register_module()
class DistSamplerSeedHook(Hook):
    """Calls ``set_epoch`` of the training loader's sampler, or of its batch sampler's (API of mmengine's hook)."""

    priority = "NORMAL"

    def before_train_epoch(self, runner: Any) -> None:
        """Tell the sampler the epoch."""
        set_epoch(runner.train_loop.dataloader, runner.epoch)


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the sampler of `loader` the epoch, or the one in its batch sampler, whichever wants to know."""
    sampler: Any = getattr(loader, "sampler", None)
    inner: Any = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    for candidate in (sampler, inner):
        if hasattr(candidate, "set_epoch"):
            candidate.set_epoch(epoch)
            return
