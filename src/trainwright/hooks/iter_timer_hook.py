"""Times iterations and estimates when training ends."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from trainwright.engine import Hook
from trainwright.engine.loops.base import length_or_none
from trainwright.registry import HOOKS
from trainwright.state import Clock

FOLD_ROWS = 4096  # rows that wait unread before the store folds them


@HOOKS.register_module()
class IterTimerHook(Hook):
    """Puts ``data_time`` (waiting for the batch) and ``time`` (the whole iteration) in seconds, and ``eta`` in seconds.

    Host time: on a GPU single iterations are times of launching work, their sum is real because every flush waits.
    The estimate averages over the iterations since training began or was resumed (API of mmengine's IterTimerHook).
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self.time_sec_tot = 0.0
        self.time_sec_test_val = 0.0
        self.start_iter = 0
        self.t = 0.0
        self._rows: list[tuple[Any, ...]] = []

    def before_train(self, runner: Any) -> None:
        """Forget the times of an earlier training."""
        self.start_iter = runner.iter
        self.time_sec_tot = 0.0
        self.time_sec_test_val = 0.0
        self._rows = runner.ctx.metrics.rows("train", "data_time", "time")
        self._show_train_eta(runner)

    def _show_train_eta(self, runner: Any) -> None:
        clock = runner.ctx.clock
        runner.ctx.hub.live["eta"] = lambda: self._eta_s(clock)

    def _before_epoch(self, runner: Any, mode: str = "train") -> None:
        self.time_sec_test_val = 0.0
        self.t = perf_counter()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Put down the times of a training iteration and the estimate."""
        ctx = runner.ctx
        now = perf_counter()
        elapsed = now - self.t
        self.t = now
        rows = self._rows
        rows.append((ctx.clock.iter, 1, ctx.data_time_s, elapsed))
        if len(rows) >= FOLD_ROWS:
            ctx.metrics.fold()
        self.time_sec_tot += elapsed

    def _eta_s(self, clock: Clock) -> float | None:
        """Seconds to the end of training, by the mean iteration so far."""
        done = clock.as_completed().iter - self.start_iter
        if clock.max_iters is None or done <= 0:
            return None
        return self.time_sec_tot / done * (clock.max_iters - self.start_iter - done)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Put down the times of a validation iteration."""
        self._after_evaluation(runner, batch_idx, runner.val_dataloader, "val")

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Put down the times of a test iteration."""
        self._after_evaluation(runner, batch_idx, runner.test_dataloader, "test")

    def _after_evaluation(self, runner: Any, batch_idx: int, loader: Any, mode: str) -> None:
        ctx = runner.ctx
        now = perf_counter()
        elapsed, self.t = now - self.t, now
        ctx.metrics.put(mode, {"data_time": ctx.data_time_s, "time": elapsed})
        self.time_sec_test_val += elapsed
        length = length_or_none(loader)
        if length is not None:
            ctx.hub.update_info("eta", self.time_sec_test_val / (batch_idx + 1) * (length - batch_idx - 1))

    def after_train_epoch(self, runner: Any) -> None:
        """The time between epochs (validation, saving) belongs to no iteration."""
        self.t = perf_counter()

    def after_val(self, runner: Any) -> None:
        """Validation inside iteration-based training belongs to no training iteration."""
        self.t = perf_counter()
        if runner.is_training:
            self._show_train_eta(runner)
