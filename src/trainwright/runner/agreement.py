"""Stops that one rank is asked for: all ranks end in the same iteration."""

from __future__ import annotations

import itertools
from typing import Any

from trainwright.dist import group_store
from trainwright.engine import Hook
from trainwright.state import StopFlag

_numbers = itertools.count()


class StopAgreement(Hook):
    """Turns a wish of one rank (a signal, for instance) into a stop of all, without a collective.

    After iteration i a rank that is asked to stop writes i + 1 into the store, and joins iteration i + 1 like all
    others. These look into the store after each iteration, so after i + 1 at the latest they know; all stop there.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self._store: Any = None
        self._stop: StopFlag | None = None
        self._last: int | None = None  # the iteration after which all stop
        self._reason = ""

    def begin(self, stop: StopFlag) -> None:
        """Listen for a training that begins."""
        self._store = group_store()
        self._key = f"trainwright/stop/{next(_numbers)}"  # the same on all ranks, which run the same program
        self._stop, self._last, self._reason = stop, None, ""
        stop.is_agreed = True

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Say what this rank wishes, hear what others do, and stop when it is time."""
        stop, now = runner.ctx.stop, runner.ctx.clock.iter
        if self._last is None:
            if stop.wished:
                self._store.compare_set(self._key, "", f"{now + 1} {stop.wished}")
            elif not self._store.check([self._key]):
                return
            last, _, self._reason = self._store.get(self._key).decode().partition(" ")
            self._last = int(last)
        if now >= self._last:
            stop.request(self._reason, interrupts=True)


def agree_on_stops(runner: Any) -> None:
    """Where there are several ranks, see to it that they stop together in the training that begins."""
    if not runner.distributed or runner.world_size == 1:
        return
    agreement = next((hook for hook in runner.hooks if isinstance(hook, StopAgreement)), None)
    if agreement is None:
        agreement = StopAgreement()
        runner.register_hook(agreement)
    agreement.begin(runner.ctx.stop)
