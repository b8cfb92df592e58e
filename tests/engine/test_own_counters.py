"""Loops that count for themselves, and loaders whose passes may have no end."""

from types import SimpleNamespace

import pytest
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from trainwright.data import DefaultSampler, InfiniteSampler
from trainwright.engine.loops import follow_counters, set_counters
from trainwright.engine.loops.base import ends_by_itself
from trainwright.state import Clock, Completing


def test_the_clock_follows_a_loop():
    clock = Clock(max_iters=3)
    loop = SimpleNamespace(epoch=2, iter=7, max_epochs=5, dataloader=[1, 2, 3])
    clock.completing = Completing.ITERATION
    follow_counters(loop, clock)
    assert (clock.epoch, clock.iter, clock.max_epochs, clock.max_iters, clock.epoch_length) == (2, 7, 5, 3, 3)
    assert clock.completing is Completing.NOTHING


def test_what_is_being_completed_stays_while_the_counters_stand():
    clock = Clock()
    loop = SimpleNamespace(epoch=0, iter=0, dataloader=[])
    clock.completing = Completing.ITERATION
    follow_counters(loop, clock)
    assert clock.as_completed().iter == 1


def test_a_loop_without_counters_and_no_loop_change_nothing():
    clock = Clock(epoch=1, iter=4)
    follow_counters(None, clock)
    follow_counters(SimpleNamespace(dataloader=iter([])), clock)
    assert (clock.epoch, clock.iter, clock.epoch_length) == (1, 4, None)


def test_a_resumed_loop_gets_the_counters():
    loop = SimpleNamespace()
    set_counters(loop, Clock(epoch=1, iter=4))
    assert (loop._epoch, loop._iter) == (1, 4)
    set_counters(None, Clock())


class Unknown(BatchSampler):
    pass


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, True),
        ({"shuffle": True}, True),
        ({"sampler": lambda data: DefaultSampler(data, seed=0)}, True),
        ({"sampler": lambda data: InfiniteSampler(data, seed=0)}, False),
        ({"batch_sampler": lambda data: Unknown(RandomSampler(data), 2, False)}, False),
        ({"batch_sampler": lambda data: BatchSampler(RandomSampler(data), 2, False)}, True),
    ],
)
def test_which_loaders_surely_end(settings, expected):
    data = list(range(6))
    made = {name: value(data) if callable(value) else value for name, value in settings.items()}
    assert ends_by_itself(DataLoader(data, **made)) is expected


def test_a_loader_without_a_length_is_read_to_see():
    assert not ends_by_itself(iter([1]))
    assert ends_by_itself([1])
