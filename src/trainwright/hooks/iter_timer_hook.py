"""Times iterations and estimates when training ends."""

from __future__ import annotations

import time
from time import perf_counter
from typing import Any

from trainwright.base.durations import SECONDS
from trainwright.dist import data_info
from trainwright.engine import Hook
from trainwright.engine.by_hand import by_hand, is_run
from trainwright.engine.hook import DATA_BATCH
from trainwright.engine.loops import TrainLoop
from trainwright.engine.loops.base import pass_length
from trainwright.registry import HOOKS

FOLD_ROWS = 4096  # rows that wait unread before the store folds them
FORWARD_SHARE = 1 / 3  # of a training step: the backward pass takes about twice as long as the forward one


@HOOKS.register_module()
class IterTimerHook(Hook):
    """Puts ``data_time`` (waiting for the batch) and ``time`` (the whole iteration) in seconds, and ``eta`` in seconds.

    Host time: on a GPU single iterations are times of launching work, their sum is real because every flush waits.
    The estimate has in it the iterations that are left, each as long as the mean since training began or was resumed
    (without the first, which sets things up), the validations that are to come, and what else happens between epochs
    (API of mmengine's IterTimerHook).
    """

    priority = "NORMAL"

    def __init__(self) -> None:
        self.time_sec_tot = 0.0
        self.time_sec_test_val = 0.0
        self.start_iter = 0
        self.t = 0.0
        self._rows: list[tuple[Any, ...]] = []
        self._forget()

    def _forget(self) -> None:
        self.time_sec_tot = 0.0
        self._n_iters, self._first_s = 0, 0.0
        self._n_val_batches, self._val_spent_s = 0, 0.0
        self._val_began: float | None = None
        self._val_batch_s: float | None = None  # of the last validation that ended, its evaluation included
        self._epoch_ended: float | None = None
        self._n_breaks, self._breaks_s = 0, 0.0  # between epochs, without the validations

    def before_train(self, runner: Any) -> None:
        """Forget the times of an earlier training."""
        self.start_iter = runner.iter
        self._forget()
        if is_run(runner):
            self._rows = runner.ctx.metrics.rows("train", "data_time", "time")
            self._show_train_eta(runner)

    def rewound(self, runner: Any) -> None:
        """Estimate from here on."""
        self.start_iter = runner.iter
        self.time_sec_tot = 0.0
        self._show_train_eta(runner)

    def _show_train_eta(self, runner: Any) -> None:
        runner.ctx.hub.live["eta"] = lambda: self.remaining_s(runner)

    def _before_epoch(self, runner: Any, mode: str = "train") -> None:
        self.time_sec_test_val = 0.0
        self.t = perf_counter() if is_run(runner) else time.time()
        if mode == "train" and self._epoch_ended is not None:
            self._n_breaks += 1
            self._breaks_s += self.t - self._epoch_ended - self._val_spent_s
            self._epoch_ended = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict[str, Any] | None = None
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
        self._n_iters += 1
        if self._n_iters == 1:
            self._first_s = elapsed

    @by_hand
    def _after_epoch(self, runner: Any, mode: str = "train") -> None:
        self.time_sec_test_val = 0.0

    @by_hand
    def _before_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, mode: str = "train") -> None:
        """Put down the time that a runner of another kind has waited for the batch."""
        if not is_run(runner):
            runner.message_hub.update_scalar(f"{mode}/data_time", time.time() - self.t)

    @by_hand
    def _after_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        """Put down the time of an iteration of a runner of another kind, and the estimate."""
        if is_run(runner):
            return
        now = time.time()
        elapsed, self.t = now - self.t, now
        hub = runner.message_hub
        hub.update_scalar(f"{mode}/time", elapsed)
        if mode == "train":
            self.time_sec_tot += elapsed
            left, seen, spent = runner.max_iters - runner.iter - 1, runner.iter - self.start_iter + 1, self.time_sec_tot
        else:
            loader = runner.val_dataloader if mode == "val" else runner.test_dataloader
            self.time_sec_test_val += elapsed
            left, seen, spent = len(loader) - batch_idx - 1, batch_idx + 1, self.time_sec_test_val
        hub.update_info("eta", spent / seen * left)

    def remaining_s(self, runner: Any) -> float | None:
        """Seconds to the end of training; None as long as nobody can know."""
        clock, n_iters = runner.ctx.clock, self._n_iters
        if not n_iters:
            return None
        done = clock.as_completed()
        budget = getattr(runner.train_loop, "budget", None)
        mean = self.time_sec_tot if n_iters == 1 else (self.time_sec_tot - self._first_s) / (n_iters - 1)
        ends = [] if budget is None else _ends_of_budget(budget, done.iter, mean)
        if clock.max_iters is not None:
            planned: float = mean * max(clock.max_iters - done.iter, 0) + self._validations_s(runner, mean)
            if self._n_breaks:
                planned += self._breaks_s / self._n_breaks * max(clock.max_epochs - done.epoch, 0)
            ends.append(planned)
        return min(ends, default=None)

    def _validations_s(self, runner: Any, iter_s: float) -> float:
        """Seconds of the validations that are to come, and of what is left of the one that runs."""
        val_loop, loop = runner.val_loop, runner.train_loop
        n_batches = pass_length(val_loop)
        planned = loop._units_planned() if isinstance(loop, TrainLoop) else None
        if not n_batches or planned is None:
            return 0.0
        n_due = loop.schedule.n_due(loop._units_done(), planned) + runner.ctx.clock.val_due
        if self._val_batch_s is not None:
            one = self._val_batch_s * n_batches
        elif self._val_began is not None and self._n_val_batches:
            one = self.time_sec_test_val / self._n_val_batches * n_batches
        else:  # none was seen so far
            one = iter_s * FORWARD_SHARE * _relative_size(val_loop, loop) * n_batches
        spent = 0.0 if self._val_began is None else perf_counter() - self._val_began
        return float(max(n_due * one - spent, (n_due - 1) * one, 0.0))

    def validation(self, runner: Any) -> tuple[int, int | None, float | None]:
        """Of the validation that runs: batches seen and planned, and the seconds that are left of it."""
        done, planned = self._n_val_batches, pass_length(runner.val_loop)
        if not done or planned is None:
            return done, planned, None
        return done, planned, self.time_sec_test_val / done * max(planned - done, 0)

    def before_val(self, runner: Any) -> None:
        """A validation begins."""
        self._n_val_batches, self._val_began = 0, perf_counter()

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None) -> None:
        """Put down the times of a validation iteration."""
        self._after_evaluation(runner, batch_idx, runner.val_loop, "val")
        self._n_val_batches = batch_idx + 1

    def after_test_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None) -> None:
        """Put down the times of a test iteration."""
        self._after_evaluation(runner, batch_idx, runner.test_loop, "test")

    def _after_evaluation(self, runner: Any, batch_idx: int, loop: Any, mode: str) -> None:
        ctx = runner.ctx
        now = perf_counter()
        elapsed, self.t = now - self.t, now
        ctx.metrics.put(mode, {"data_time": ctx.data_time_s, "time": elapsed})
        self.time_sec_test_val += elapsed
        length = pass_length(loop)
        if length is not None:
            ctx.hub.update_info("eta", self.time_sec_test_val / (batch_idx + 1) * (length - batch_idx - 1))

    def after_train_epoch(self, runner: Any) -> None:
        """The time between epochs (validation, saving) belongs to no iteration."""
        self.t = self._epoch_ended = perf_counter()
        self._val_spent_s = 0.0

    def after_val(self, runner: Any) -> None:
        """Validation inside iteration-based training belongs to no training iteration."""
        self.t = perf_counter()
        if self._val_began is not None:
            self._val_spent_s = self.t - self._val_began
            self._val_batch_s = self._val_spent_s / self._n_val_batches if self._n_val_batches else self._val_batch_s
        self._val_began = None
        if runner.is_training:
            self._show_train_eta(runner)


def _relative_size(loop: Any, train_loop: Any) -> float:
    """How large a batch of ``loop`` is beside one of training, 1 where a loader does not say."""
    size, own = (getattr(getattr(part, "dataloader", None), "batch_size", None) for part in (loop, train_loop))
    return size / own if isinstance(size, int) and isinstance(own, int) and own else 1.0


def _ends_of_budget(budget: Any, done: int, iter_s: float) -> list[float]:
    """Seconds until ``max_duration`` is over, where that can be told without reading the device."""
    if budget.kind == SECONDS:
        return [float(max(budget.limit - budget.elapsed_s, 0.0))]
    if isinstance(budget.n_tokens, int) and budget.n_tokens and done:
        seen = budget.n_tokens * data_info()[1]  # the other ranks have about as many
        return [iter_s * max(budget.limit - seen, 0) / (seen / done)]
    return []
