"""Stops that one rank is asked for: all ranks end in the same iteration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from trainwright.dist import group_store
from trainwright.engine import Hook
from trainwright.state import StopFlag

_numbers = itertools.count()
_GOES_ON = "goes on"


class StopAgreement(Hook):
    """Turns a wish of one rank (a signal, for instance) into a stop of all, without a collective.

    After iteration i a rank that is asked to stop writes i + 1 into the store, and joins iteration i + 1 like all
    others. These look into the store after each iteration, so after i + 1 at the latest they know; all stop there.

    A validation inside training ends for all or for none, wherever each is in it: a rank that gives it up and one that
    has used all its batches write that under one key, and the first one is right.
    """

    priority = "LOWEST"

    def __init__(self) -> None:
        self._store: Any = None
        self._stop: StopFlag | None = None
        self._last: int | None = None  # the iteration after which all stop
        self._wish = ""

    def begin(self, stop: StopFlag) -> None:
        """Listen for a training that begins."""
        self._store = group_store()
        self._key = f"trainwright/stop/{next(_numbers)}"  # the same on all ranks, which run the same program
        self._stop, self._last, self._wish = stop, None, ""
        self._n_evaluated = 0
        stop.is_agreed = True
        stop.may_evaluate = self._may_evaluate

    def end(self) -> None:
        """The training is over: evaluations are nobody's business any more."""
        if self._stop is not None:
            self._stop.may_evaluate = None

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Say what this rank wishes, hear what others do, and stop when it is time."""
        stop, now = runner.ctx.stop, runner.ctx.clock.iter
        if self._last is None:
            if stop.wished:
                self._store.compare_set(self._key, "", f"{now + 1} {_written(stop)}")
            elif not self._store.check([self._key]):
                return
            last, _, self._wish = self._store.get(self._key).decode().partition(" ")
            self._last = int(last)
        if now >= self._last:
            _request(stop, self._wish)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Give the validation up where this rank is asked to stop, or another one did."""
        stop = runner.ctx.stop
        if stop.may_evaluate is None or stop.requested:
            return
        key = self._evaluation
        if stop.wished and (stop.may_interrupt is None or stop.may_interrupt()):
            self._store.compare_set(key, "", _written(stop))
        elif not self._store.check([key]):
            return
        verdict = self._store.get(key).decode()
        if verdict != _GOES_ON:
            _request(stop, verdict)

    @property
    def _evaluation(self) -> str:
        return f"{self._key}/evaluation/{self._n_evaluated}"

    def _may_evaluate(self) -> bool:
        """Whether the evaluation of the running set, all of whose batches this rank has used, is not given up."""
        verdict = self._store.compare_set(self._evaluation, "", _GOES_ON).decode()
        if verdict == _GOES_ON:
            self._n_evaluated += 1
            return True
        assert self._stop is not None
        _request(self._stop, verdict)
        return False


def _written(stop: StopFlag) -> str:
    return f"{int(stop.wished_requeues)} {stop.wished}"


def _request(stop: StopFlag, wish: str) -> None:
    requeues, _, reason = wish.partition(" ")
    stop.request(reason, interrupts=True, requeues=requeues == "1")


def agree_on_stops(runner: Any) -> None:
    """Where there are several ranks, see to it that they stop together in the training that begins."""
    if not runner.distributed or runner.world_size == 1:
        return
    agreement = next((hook for hook in runner.hooks if isinstance(hook, StopAgreement)), None)
    if agreement is None:
        agreement = StopAgreement()
        runner.register_hook(agreement)
    agreement.begin(runner.ctx.stop)
