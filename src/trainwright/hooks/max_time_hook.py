"""Ends a training after a given time, with a checkpoint to go on from."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from trainwright.base.durations import seconds_of
from trainwright.dist import broadcast_object_list
from trainwright.engine import Hook
from trainwright.engine.loops.budget import iters_until_look
from trainwright.registry import HOOKS
from trainwright.state import Progress, StopAt


@HOOKS.register_extra
class MaxTimeHook(Hook):
    """Ends the training once it has taken `max_time`: seconds, or a text such as '8h' or '1d 12h' (d, h, min, s).

    It ends after the running iteration (at the end of an accumulation window) and saves the whole state there, even in
    the middle of an epoch; ``train()`` then returns as usual, and a resume goes on bit for bit. Validation and saving
    count as time. The time of earlier parts counts too after a resume; with ``across_resumes=False`` each part has
    `max_time`, as for jobs of limited length. Leave room for a last save and, at worst, a validation.

    With ``requeue=True``, for chains of jobs, ``train()`` raises Preempted instead of returning, as after SIGTERM: the
    program ends with exit code 75, and leaves the marker of a run that is to be started again.

    The clock is looked at when half of the time that is left may have passed, at least twice a minute. Where there are
    several ranks, the first one decides.
    """

    priority = "VERY_LOW"
    rewinds = False

    def __init__(self, max_time: str | float, across_resumes: bool = True, requeue: bool = False) -> None:
        self.max_time_s = seconds_of(max_time, "MaxTimeHook max_time")
        self.across_resumes = across_resumes
        self.requeue = requeue
        self.stopped = False
        self._earlier_s = 0.0
        self._started: float | None = None
        self._looked_at = (0, 0.0)  # iteration and time of the last look
        self._next = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds that count so far."""
        return self._earlier_s + (0.0 if self._started is None else perf_counter() - self._started)

    def before_train(self, runner: Any) -> None:
        """Start the clock."""
        self.stopped = False
        self._started = perf_counter()
        self._next = runner.iter
        self._looked_at = (runner.iter, self._started)

    def rewound(self, runner: Any) -> None:
        """The next look was planned for an iteration that is far again."""
        self._next = runner.iter
        self._looked_at = (runner.iter, perf_counter())

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look at the clock."""
        if runner.iter >= self._next:
            self._look(runner)

    def next_train_iter(self, runner: Any) -> int | None:
        """The next look."""
        return max(self._next, int(runner.iter))

    def after_train_epoch(self, runner: Any) -> None:
        """Look before a validation begins."""
        self._look(runner)

    def after_val(self, runner: Any) -> None:
        """Look after a validation inside training, which may have taken long."""
        if self._started is not None:
            self._look(runner)

    def _look(self, runner: Any) -> None:
        now, progress = perf_counter(), runner.ctx.clock.as_completed()
        done, (before, at) = progress.iter, self._looked_at
        left = self.max_time_s - self.elapsed_s
        plan = [left <= 0, iters_until_look(left, done - before, now - at)]
        broadcast_object_list(plan)  # ranks must end in the same iteration
        self._looked_at = (done, now)
        self._next = done - 1 + plan[1]
        if plan[0] and not (self.stopped or runner.ctx.stop.at is StopAt.ITERATION or _is_over(runner, progress)):
            self.stopped = True
            runner.ctx.stop.request(
                f"MaxTimeHook: max_time of {self.max_time_s:g} s is over",
                StopAt.ITERATION,
                interrupts=True,
                returns=not self.requeue,
                requeues=self.requeue,
            )

    def on_train_closed(self, runner: Any) -> None:
        """Stop the clock; whatever is saved from now on has the time so far."""
        self._earlier_s = self.elapsed_s
        self._started = None

    def after_run(self, runner: Any) -> None:
        """Say how to go on."""
        stop = runner.ctx.stop
        if self.stopped and stop.returns:
            runner.logger.warning(
                "training ended after iteration %d of %s, because %s; it is saved there. To go on: resume=True with a "
                "larger max_time%s",
                runner.iter,
                "unknown" if runner.max_iters is None else runner.max_iters,
                stop.reason,
                "" if self.across_resumes else ", or the same",
            )

    def state_dict(self) -> dict[str, Any]:
        """The time so far."""
        return {"elapsed_s": self.elapsed_s}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count the time of the earlier parts in."""
        self._earlier_s = float(state["elapsed_s"]) if self.across_resumes else 0.0


def _is_over(runner: Any, progress: Progress) -> bool:
    """Whether nothing but a validation is left."""
    epochs, iters = runner.max_epochs, runner.max_iters
    return (epochs is not None and progress.epoch >= epochs) or (iters is not None and progress.iter >= iters)
