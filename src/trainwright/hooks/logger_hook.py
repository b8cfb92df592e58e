"""Writes the log line and the scalars."""

from __future__ import annotations

from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.engine import Hook
from trainwright.engine.loops.base import length_or_none
from trainwright.hooks.intervals import next_log_iter
from trainwright.registry import HOOKS


@HOOKS.register_module()
class LoggerHook(Hook):
    """Every ``interval`` iterations: one line to the logger and the same values to the visualizer's writers.

    This is where metrics are read from the device; between two lines nothing is. ``ignore_last`` leaves the shorter
    rest of an epoch without a line, ``interval_exp_name`` says how often the experiment's name is repeated,
    ``log_metric_by_epoch`` whether validation metrics are written against the epoch or the iteration (API of mmengine's
    LoggerHook).
    """

    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int = 10,
        ignore_last: bool = True,
        interval_exp_name: int = 1000,
        log_metric_by_epoch: bool = True,
    ) -> None:
        for name, value in (("interval", interval), ("interval_exp_name", interval_exp_name)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigTypeError(f"LoggerHook {name} must be a whole number of iterations, but got {value!r}.")
            if value <= 0:
                raise ConfigTypeError(f"LoggerHook {name} must be at least 1, but got {value}.")
        self.interval = interval
        self.ignore_last = ignore_last
        self.interval_exp_name = interval_exp_name
        self.log_metric_by_epoch = log_metric_by_epoch

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Write a training line when one is due."""
        clock = runner.ctx.clock
        done = batch_idx + 1
        ends_epoch = done == clock.epoch_length
        if ends_epoch or (clock.iter + 1) % self.interval_exp_name == 0:
            runner.logger.info("Exp name: %s", runner.experiment_name)
        if done % self.interval and (not ends_epoch or (self.ignore_last and done > self.interval)):
            return
        tag, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "train")
        runner.logger.info(line)
        runner.visualizer.add_scalars(tag, step=clock.iter + 1)

    def next_train_iter(self, runner: Any) -> int | None:
        """The next line, mention of the experiment's name, or end of an epoch."""
        clock = runner.ctx.clock
        name = clock.iter + self.interval_exp_name - 1 - clock.iter % self.interval_exp_name
        return int(min(next_log_iter(clock, self.interval), name))

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write a progress line of validation."""
        if (batch_idx + 1) % self.interval == 0:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "val")
            runner.logger.info(line)

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write a progress line of testing."""
        if (batch_idx + 1) % self.interval == 0:
            _, line = runner.log_processor.get_log_after_iter(runner, batch_idx, "test")
            runner.logger.info(line)

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the metrics; ``step`` is the epoch in epoch-based training when ``log_metric_by_epoch``, otherwise the
        iteration, which is written as ``iter`` in any case."""
        tag, line = runner.log_processor.get_log_after_epoch(runner, len_or_zero(runner.val_dataloader), "val")
        runner.logger.info(line)
        clock = runner.ctx.clock
        by_epoch = self.log_metric_by_epoch and runner.by_epoch
        # A validation of a model that was not trained here belongs to step 0.
        step = clock.epoch if by_epoch else clock.iter
        runner.visualizer.add_scalars({**tag, "iter": clock.iter}, step=step)

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Write the test metrics to the log and to a file of their own."""
        tag, line = runner.log_processor.get_log_after_epoch(
            runner, len_or_zero(runner.test_dataloader), "test", with_non_scalar=True
        )
        runner.logger.info(line)
        runner.dump_test_metrics(tag)

    def after_train(self, runner: Any) -> None:
        """Close the writers."""
        runner.visualizer.close()


def len_or_zero(loader: Any) -> int:
    """Number of batches, 0 when unknown."""
    return length_or_none(loader) or 0
