"""Every event of a run, and the order in which they happen, drawn as code.

The functions at the end yield the events of a whole run; a test compares them with what a real run fires.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator


class Event(enum.Enum):
    """A moment at which hooks are called; the value is the hook method of MMEngine's dialect."""

    BEFORE_RUN = "before_run"
    AFTER_RUN = "after_run"
    BEFORE_TRAIN = "before_train"
    AFTER_TRAIN = "after_train"
    BEFORE_VAL = "before_val"
    AFTER_VAL = "after_val"
    BEFORE_TEST = "before_test"
    AFTER_TEST = "after_test"
    BEFORE_TRAIN_EPOCH = "before_train_epoch"
    AFTER_TRAIN_EPOCH = "after_train_epoch"
    BEFORE_VAL_EPOCH = "before_val_epoch"
    AFTER_VAL_EPOCH = "after_val_epoch"
    BEFORE_TEST_EPOCH = "before_test_epoch"
    AFTER_TEST_EPOCH = "after_test_epoch"
    BEFORE_TRAIN_ITER = "before_train_iter"
    AFTER_TRAIN_ITER = "after_train_iter"
    BEFORE_VAL_ITER = "before_val_iter"
    AFTER_VAL_ITER = "after_val_iter"
    BEFORE_TEST_ITER = "before_test_iter"
    AFTER_TEST_ITER = "after_test_iter"
    BEFORE_SAVE_CHECKPOINT = "before_save_checkpoint"
    AFTER_SAVE_CHECKPOINT = "after_save_checkpoint"
    AFTER_LOAD_CHECKPOINT = "after_load_checkpoint"
    ON_EXCEPTION = "on_exception"  # a phase failed; the error is raised again afterwards
    TRAIN_CLOSED = "on_train_closed"  # training is over, by success, stop or failure

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the arguments that hooks get at this event, in order."""
        return _PARAMETERS.get(self.value, ())

    # Members are compared by identity only, so the fast hash of object serves (Enum's own hashes the name in Python).
    __hash__ = object.__hash__


_ITER = ("batch_idx", "data_batch")
_PARAMETERS: dict[str, tuple[str, ...]] = {
    **{f"before_{label}_iter": _ITER for label in ("train", "val", "test")},
    **{f"after_{label}_iter": (*_ITER, "outputs") for label in ("train", "val", "test")},
    "after_val_epoch": ("metrics",),
    "after_test_epoch": ("metrics",),
    "before_save_checkpoint": ("checkpoint",),
    "after_save_checkpoint": ("path",),
    "after_load_checkpoint": ("checkpoint",),
    "on_exception": ("phase", "error"),
}


class Phase(enum.Enum):
    """What a loop does with its batches, with the events that it fires."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"

    def __init__(self, label: str) -> None:
        self.label = label
        self.begin = Event(f"before_{label}")
        self.end = Event(f"after_{label}")
        self.before_epoch = Event(f"before_{label}_epoch")
        self.after_epoch = Event(f"after_{label}_epoch")
        self.before_iter = Event(f"before_{label}_iter")
        self.after_iter = Event(f"after_{label}_iter")
        self.trains = label == "train"


def span_events(phase: Phase, n_iters: int) -> Iterator[Event]:
    """Iterations of one phase; the step runs between the two events."""
    for _ in range(n_iters):
        yield phase.before_iter
        yield phase.after_iter


def evaluation_events(phase: Phase, n_iters: int) -> Iterator[Event]:
    """One pass of ValLoop or TestLoop."""
    yield phase.begin
    yield phase.before_epoch
    yield from span_events(phase, n_iters)
    yield phase.after_epoch
    yield phase.end


def epoch_run_events(max_epochs: int, epoch_length: int, val_interval: int = 0, val_length: int = 0) -> Iterator[Event]:
    """``Runner.train()`` with EpochBasedTrainLoop; weights are initialised and loaded right after BEFORE_RUN."""
    yield Event.BEFORE_RUN
    yield Event.BEFORE_TRAIN
    for epoch in range(1, max_epochs + 1):
        yield Event.BEFORE_TRAIN_EPOCH
        yield from span_events(Phase.TRAIN, epoch_length)
        yield Event.AFTER_TRAIN_EPOCH
        if val_interval and (epoch % val_interval == 0 or epoch == max_epochs):
            yield from evaluation_events(Phase.VAL, val_length)
    yield Event.AFTER_TRAIN
    yield Event.TRAIN_CLOSED
    yield Event.AFTER_RUN


def iter_run_events(max_iters: int, val_interval: int = 0, val_length: int = 0) -> Iterator[Event]:
    """``Runner.train()`` with IterBasedTrainLoop: the whole training is one epoch."""
    yield Event.BEFORE_RUN
    yield Event.BEFORE_TRAIN
    yield Event.BEFORE_TRAIN_EPOCH
    for done in range(1, max_iters + 1):
        yield from span_events(Phase.TRAIN, 1)
        if val_interval and (done % val_interval == 0 or done == max_iters):
            yield from evaluation_events(Phase.VAL, val_length)
    yield Event.AFTER_TRAIN_EPOCH
    yield Event.AFTER_TRAIN
    yield Event.TRAIN_CLOSED
    yield Event.AFTER_RUN
