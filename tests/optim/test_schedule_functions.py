"""The pure functions that stand in no row of the table: phases, annealing, warm-up."""

import pytest

from trainwright.optim.schedules import (
    anneal_cosine,
    anneal_linear,
    cycle_phases,
    inverse,
    phase_at,
    repeated_cycle,
    warm_up,
)


def test_annealing():
    assert [anneal_linear(2.0, 1.0, share) for share in (0, 0.25, 1)] == [2.0, 1.75, 1.0]
    assert anneal_cosine(2.0, 1.0, 0) == 2.0
    assert anneal_cosine(2.0, 1.0, 0.5) == pytest.approx(1.5)
    assert anneal_cosine(2.0, 1.0, 1) == 1.0
    assert anneal_cosine(2.0, 1.0, 0, weight=0.25) == 1.25


def test_the_phases_of_one_cycle():
    phases = cycle_phases(["low", "high", "least"], 101, 0.4)
    assert [(first, last) for _, first, last in phases] == [("low", "high"), ("high", "least")]
    assert [end for end, _, _ in phases] == pytest.approx([39.4, 100])
    assert phase_at(0, phases) == (0.0, "low", "high")
    assert phase_at(100, phases) == (1.0, "high", "least")
    assert phase_at(70, phases)[0] == pytest.approx((70 - 39.4) / (100 - 39.4))
    assert phase_at(130.3, phases)[0] == pytest.approx(1.5)


def test_a_phase_without_length_is_over():
    phases = cycle_phases([1, 2, 3], 11, 1 / 11)
    assert phases[0][0] == 0
    assert phase_at(0, phases) == (1.0, 1, 2)


def test_cycles_that_rise_less_each_time():
    phases = [[0, 4, 1, 9], [4, 10, 9, 0.5]]
    assert repeated_cycle(2, phases, 10, gamma=0.5) == (0.5, 1, 9)
    assert repeated_cycle(12, phases, 10, gamma=0.5) == (0.5, 1, 5)
    assert repeated_cycle(27, phases, 10, gamma=0.5) == (0.5, 3, 0.5)


def test_inverse():
    assert inverse(0, 3.0, 2.0) == 1.0
    assert inverse(1, 3.0, 0.5) == 0.5


@pytest.mark.parametrize(
    ("kind", "values"),
    [("constant", [0.25, 0.25, 0.25]), ("linear", [0.25, 0.625, 1.0]), ("exp", [0.25, 0.5, 1.0])],
)
def test_warm_ups(kind, values):
    assert [warm_up(step, kind, 10, 0.25) for step in (0, 5, 10)] == values
