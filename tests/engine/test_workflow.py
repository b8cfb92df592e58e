"""Phases in turn: rounds, shares, epochs."""

import pytest
import torch
from torch.utils.data import DataLoader

from trainwright.engine import Event, HookTable, Phase, run_iter
from trainwright.engine.loops.workflow import Turn, run_epoch, run_rounds, run_units
from trainwright.engine.passes import PassReader
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


class Drawing(torch.utils.data.Dataset):
    """Numbers with noise of the global stream."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index + torch.rand(())


def made(own):
    generator = torch.Generator().manual_seed(7) if own else None
    return DataLoader(Drawing(), batch_size=2, shuffle=True, generator=generator)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("n_used", [None, 0, 1, 2, 3])
def test_a_pass_is_gone_on_with(own, waits, n_used):
    """``waits``: others draw between entering the pass and its first batch. None: the pass is over."""
    torch.manual_seed(1)
    reader = PassReader(made(own))
    batches = reader.enter(0)
    if waits:
        torch.rand(3)
        reader.before_first()
    used = 3 if n_used is None else n_used
    for _ in range(used):
        next(batches)
        torch.rand(2)
    if n_used is None:
        assert next(batches, None) is None
    state, streams = reader.state_dict(n_used), rng.capture()
    rest = [*batches, *reader.enter(1)]

    other = PassReader(made(own))
    other.load_state_dict(state)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    again = other.enter(0) if n_used is not None else None
    if again is not None:
        assert torch.equal(torch.get_rng_state(), before)
    rng.restore(streams)
    got = [*(again or ()), *other.enter(1)]
    assert len(got) == len(rest) == 6 - used
    assert all(torch.equal(a, b) for a, b in zip(got, rest, strict=True))
