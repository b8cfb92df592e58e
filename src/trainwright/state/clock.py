"""The one owner of the counters of a training run."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Completing(enum.Enum):
    """Which unit the events being fired close: its counters advance only after its last event."""

    NOTHING = 0
    ITERATION = 1
    EPOCH = 2


class Progress(NamedTuple):
    """Finished epochs, finished iterations, and finished iterations of the epoch under way."""

    epoch: int
    iter: int
    inner_iter: int


@dataclass(slots=True)
class Clock:
    """Epoch, iteration and inner iteration, with their maxima.

    Hooks see the 0-based index of what is running: in ``after_train_iter`` of the first iteration ``iter`` is 0, in
    ``after_train_epoch`` of the first epoch ``epoch`` is 0. What a saver must write is :meth:`as_completed`.
    ``epoch_length`` is in iterations, None for a loader without a length.
    """

    max_epochs: int | None = None
    max_iters: int | None = None
    epoch_length: int | None = None
    epoch: int = 0
    iter: int = 0
    inner_iter: int = 0
    val_due: bool = False  # a validation is to come, or has begun and not ended: a run that resumes here begins with it
    # Whether a validation follows on the running unit; the loop says so.
    validates_next: Callable[[], bool] | None = None
    completing: Completing = field(default=Completing.NOTHING)

    def tick(self) -> None:
        """Close the running iteration."""
        self.iter += 1
        self.inner_iter += 1
        self.completing = Completing.NOTHING

    def close_epoch(self) -> None:
        """Close the running epoch; the next one starts at inner iteration 0."""
        self.epoch += 1
        self.inner_iter = 0
        self.completing = Completing.NOTHING

    def as_completed(self) -> Progress:
        """The counters as they will be when the events of the running unit are over: what a checkpoint must hold."""
        if self.completing is Completing.ITERATION:
            return Progress(self.epoch, self.iter + 1, self.inner_iter + 1)
        if self.completing is Completing.EPOCH:
            return Progress(self.epoch + 1, self.iter, 0)
        return Progress(self.epoch, self.iter, self.inner_iter)

    @property
    def is_behind_last_iter(self) -> bool:
        """Whether an epoch is being closed: the last iteration that ran is then ``iter - 1``."""
        return self.completing is Completing.EPOCH and self.iter > 0

    def state_dict(self) -> dict[str, Any]:
        """``as_completed`` and ``val_due`` as plain data."""
        due = self.val_due or (self.validates_next is not None and self.validates_next())
        return {**self.as_completed()._asdict(), "val_due": due}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to the saved progress; files without ``inner_iter`` (MMEngine's) were saved at epoch boundaries."""
        self.epoch = int(state["epoch"])
        self.iter = int(state["iter"])
        self.inner_iter = int(state.get("inner_iter", 0))
        self.val_due = bool(state.get("val_due", False))
        self.completing = Completing.NOTHING
