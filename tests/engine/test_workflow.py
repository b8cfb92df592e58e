"""Phases in turn: rounds, shares, epochs."""

import pytest
import torch

from trainwright.engine import Event, HookTable, Phase, run_iter
from trainwright.engine.loops.workflow import Turn, run_epoch, run_rounds, run_units
from trainwright.state import RunContext, StopAt, rng


class Host:
    """Counts what is done."""

    def __init__(self, plan, turn, n):
        self.done, self.turn = [], turn
        run_rounds(plan, turn, lambda: len(self.done) >= n, self.share)

    def share(self, index, n):
        run_units(n, self.turn, lambda: True, lambda: self.done.append(index))


def test_rounds_end_when_one_would_begin():
    assert Host([("train", 2), ("val", 1)], Turn(), 4).done == [0, 0, 1, 0, 0, 1]
    assert Host([("train", 2)], Turn(), 0).done == []


def test_a_round_that_was_begun_is_ended():
    """Also where everything is done: what is left of the round still comes."""
    assert Host([("train", 2), ("val", 2)], Turn(1, 1), 0).done == [1]
    assert Host([("train", 2), ("val", 1)], Turn(0, 1), 3).done == [0, 1, 0, 0, 1]
    assert Host([("train", 2), ("val", 1)], Turn(0, 2), 1).done == [1]


def test_units_stop_when_told():
    turn, left = Turn(), [1, 1]
    run_units(5, turn, lambda: bool(left), left.pop)
    assert turn.done == 2


def context():
    table = HookTable(None)
    ctx = RunContext("test", table)
    fired = []
    for event in (Event.BEFORE_TRAIN_EPOCH, Event.AFTER_TRAIN_EPOCH, Event.BEFORE_VAL_EPOCH, Event.AFTER_VAL_EPOCH):
        table.calls[event] = (
            lambda host, *_, event=event: fired.append((event.value, tuple(ctx.clock.as_completed()))),
        )
    return ctx, fired


def epoch_of(ctx, phase, batches, before=lambda index: None):
    def iterate(index, batch):
        before(index)
        run_iter(ctx, phase, lambda batch: None, index, batch)

    run_epoch(ctx, phase, lambda: iter(batches), iterate)


def test_an_epoch_counts_when_its_last_event_is_over():
    ctx, fired = context()
    epoch_of(ctx, Phase.TRAIN, [1, 2])
    assert fired == [("before_train_epoch", (0, 0, 0)), ("after_train_epoch", (1, 2, 0))]
    assert tuple(ctx.clock.as_completed()) == (1, 2, 0)


def test_a_validation_counts_nothing_and_keeps_the_streams_of_its_beginning():
    ctx, fired = context()
    torch.manual_seed(0)
    began = rng.capture()["torch"]
    seen = []

    def draw(index):
        torch.rand(3)
        seen.append(torch.equal(ctx.training_streams["torch"], began))

    epoch_of(ctx, Phase.VAL, [1, 2], draw)
    assert fired == [("before_val_epoch", (0, 0, 0)), ("after_val_epoch", (0, 0, 0))]
    assert seen == [True, True]
    assert ctx.training_streams is None


def test_an_epoch_that_fails_leaves_nothing():
    ctx, _ = context()
    with pytest.raises(ZeroDivisionError):
        epoch_of(ctx, Phase.VAL, [1], lambda index: 1 / 0)
    assert ctx.training_streams is None


def test_a_stop_leaves_the_epoch_open():
    ctx, fired = context()
    epoch_of(ctx, Phase.TRAIN, [1, 2, 3], lambda index: ctx.stop.request("enough", StopAt.ITERATION))
    assert tuple(ctx.clock.as_completed()) == (0, 1, 1)
    assert len(fired) == 1
