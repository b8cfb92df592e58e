"""Steps the parameter schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.engine import NEVER, Hook
from trainwright.engine.by_hand import evaluates_alone
from trainwright.engine.hook import DATA_BATCH
from trainwright.registry import HOOKS


@HOOKS.register_module()
class ParamSchedulerHook(Hook):
    """Steps schedulers that count iterations after each iteration, the others after each epoch; with a metric to
    watch, after validation (API of mmengine's ParamSchedulerHook)."""

    priority = "LOW"

    def __init__(self) -> None:
        self._by_iter: list[Callable[[], None]] | None = None  # in a training

    def before_train(self, runner: Any) -> None:
        """Pick out the schedulers that count iterations: only they cost anything per iteration."""
        self._by_iter = self._steps_by_iter(runner)

    def _steps_by_iter(self, runner: Any) -> list[Callable[[], None]]:
        return [scheduler.step for scheduler in self._all(runner) if not scheduler.by_epoch]

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Step by iteration."""
        for step in self._steps_by_iter(runner) if self._by_iter is None else self._by_iter:
            step()

    def next_train_iter(self, runner: Any) -> int | None:
        """Every iteration when a scheduler counts them, otherwise none."""
        return None if self._by_iter else NEVER

    def after_train_epoch(self, runner: Any) -> None:
        """Step by epoch; those that watch a metric count it."""
        for scheduler in self._all(runner):
            if scheduler.by_epoch:
                scheduler.step()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Step the schedulers that watch a metric; a validation outside training changes nothing."""
        if metrics is None or evaluates_alone(runner):
            return
        for scheduler in self._all(runner):
            if getattr(scheduler, "by_epoch", False) and getattr(scheduler, "need_val_args", False):
                scheduler.step(metrics)

    @staticmethod
    def _all(runner: Any) -> list[Any]:
        schedulers = runner.param_schedulers
        if schedulers is None:
            return []
        if isinstance(schedulers, list):
            return schedulers
        if isinstance(schedulers, dict):
            return [scheduler for items in schedulers.values() for scheduler in items]
        raise ConfigTypeError(
            "runner.param_schedulers should be list of ParamScheduler or a dict containing list of ParamScheduler, but "
            f"is {schedulers!r}."
        )
