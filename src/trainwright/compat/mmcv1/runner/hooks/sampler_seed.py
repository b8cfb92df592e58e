"""Gives the sampler a new order for every epoch."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook
from trainwright.hooks.sampler_seed_hook import set_epoch


@HOOKS.register_module()
class DistSamplerSeedHook(Hook):
    """Calls ``set_epoch`` of the loader's sampler, or of its batch sampler's.

    For EpochBasedRunner; the loaders of IterBasedRunner do it by themselves.
    """

    def before_epoch(self, runner: Any) -> None:
        """Tell the sampler the epoch."""
        set_epoch(runner.data_loader, runner.epoch)
