"""Collects garbage at chosen iterations only."""

from __future__ import annotations

import gc
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.engine import Hook
from trainwright.hooks.intervals import whole_number
from trainwright.registry import HOOKS


@HOOKS.register_extra
class GarbageCollectionHook(Hook):
    """Switches Python's automatic garbage collection off while training, and collects every `interval` iterations and
    after each validation.

    Left to itself Python collects at a moment of its own in each process, and in synchronous training all ranks wait
    for the one that does; here they do it in the same iteration. `generation`: how thorough these collections are (0
    to 2); the one before training is a full one. When training ends in any way, it is as it was before.
    """

    priority = "VERY_HIGH"

    def __init__(self, interval: int = 1000, generation: int = 1) -> None:
        self.interval = whole_number(self, "interval", interval)
        self.generation = whole_number(self, "generation", generation, 0)
        if generation > 2:
            raise ConfigError(f"GarbageCollectionHook generation must be 0, 1 or 2, but got {generation}.")
        self._was_enabled = False

    def before_train(self, runner: Any) -> None:
        """Collect all there is, and switch the automatic off."""
        self._was_enabled = gc.isenabled()
        gc.disable()
        gc.collect()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Collect when it is due."""
        if self.every_n_train_iters(runner, self.interval):
            gc.collect(self.generation)

    def next_train_iter(self, runner: Any) -> int | None:
        """The next collection."""
        now: int = runner.ctx.clock.iter
        return now + self.interval - 1 - now % self.interval

    def after_val(self, runner: Any) -> None:
        """Collect what a validation inside training left."""
        if runner.is_training:
            gc.collect(self.generation)

    def on_train_closed(self, runner: Any) -> None:
        """Switch the automatic on again where it was on."""
        if self._was_enabled:
            gc.enable()
            self._was_enabled = False
