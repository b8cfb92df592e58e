"""Saving by time, where a look at the clock is not to cost anything."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from trainwright.dist import broadcast_object_list
from trainwright.engine.loops.budget import iters_until_look


class SaveTimer:
    """Due ``every_s`` seconds after the last save, at an iteration on which all ranks agree, by the first one's clock.

    The clock is looked at when half of the time that is left may have passed, at least twice a minute. A save waits for
    the end of an accumulation window, within which no checkpoint holds all there is.
    """

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self.next_look = 0
        self._saved_at = 0.0
        self._looked = (0, 0.0)  # iteration and time

    def start(self, runner: Any) -> None:
        """A save was made, or training begins."""
        now = perf_counter()
        self._saved_at, self._looked = now, (runner.ctx.clock.as_completed().iter, now)
        self.next_look = int(runner.iter)

    def is_due(self, runner: Any) -> bool:
        """Whether to save after the running iteration."""
        if runner.iter < self.next_look:
            return False
        now, done = perf_counter(), runner.ctx.clock.as_completed().iter
        before, at = self._looked
        left = self.every_s - (now - self._saved_at)
        plan = [left <= 0, iters_until_look(max(left, 0.0), done - before, now - at)]
        broadcast_object_list(plan)
        self._looked = (done, now)
        self.next_look = done - 1 + plan[1]
        if plan[0] and not runner.ctx.stop.may_interrupt():
            self.next_look = done
            return False
        return bool(plan[0])
