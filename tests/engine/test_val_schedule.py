from bisect import bisect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainwright.base.errors import ConfigError
from trainwright.engine import Event, ValSchedule
from trainwright.engine.events import epoch_run_events, iter_run_events


def reference(begin, interval, dynamic, last):
    """After which units MMEngine's loops validate: its rule followed unit by unit."""
    milestones = [0, *(at for at, _ in dynamic)]
    intervals = [interval, *(n for _, n in dynamic)]
    due = []
    for done in range(1, last + 1):
        now = intervals[bisect(milestones, done + 1) - 1]
        if done >= begin and (done % now == 0 or done == last):
            due.append(done)
    return due


@st.composite
def schedules(draw):
    last = draw(st.integers(1, 40))
    at = draw(st.lists(st.integers(0, last + 5), max_size=4, unique=True).map(sorted))
    dynamic = [(milestone, draw(st.integers(1, 12))) for milestone in at]
    return draw(st.integers(0, last + 5)), draw(st.integers(1, 12)), dynamic, last


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(schedules())
def test_due_and_units_to_next_agree_with_the_rule(case):
    begin, interval, dynamic, last = case
    schedule = ValSchedule(begin, interval, dynamic)
    expected = reference(begin, interval, dynamic, last)
    assert [done for done in range(1, last + 1) if schedule.due(done, last)] == expected
    for done in range(last):
        following = next((at for at in expected if at > done), last)
        assert schedule.units_to_next(done, last) == following - done


def test_a_long_training_is_no_long_calculation():
    schedule = ValSchedule(1, 1000, [(10**8, 7)])
    assert schedule.units_to_next(10**8 - 5, 10**9) == 10  # 10**8 + 5 is the first multiple of 7 after 10**8 - 1
    assert schedule.units_to_next(0, 10**9) == 1000


def test_a_training_without_a_known_end():
    schedule = ValSchedule(2, 3)
    assert [done for done in range(1, 10) if schedule.due(done, None)] == [3, 6, 9]


def test_milestones_may_come_in_any_order():
    schedule = ValSchedule(1, 5, [(9, 1), (4, 2)])
    assert [schedule.interval_at(done) for done in (0, 2, 3, 7, 8, 20)] == [5, 5, 2, 2, 1, 1]


@pytest.mark.parametrize("interval", [0, -1])
def test_an_interval_below_one_names_the_way_out(interval):
    with pytest.raises(ConfigError, match=rf"val_interval must be at least 1, but got {interval}.*leave out val_data"):
        ValSchedule(1, interval)
    with pytest.raises(ConfigError, match=r"dynamic_intervals .*must hold \(milestone, interval\)"):
        ValSchedule(1, 1, [(3, interval)])


# in real loops --------------------------------------------------------------------------------------------------------

CASES = [
    {},
    {"val_interval": 3},
    {"val_begin": 4, "val_interval": 2},
    {"val_begin": 99},
    {"val_interval": 50},
    {"val_interval": 4, "dynamic_intervals": [(5, 2), (9, 1)]},
    {"val_begin": 6, "val_interval": 1, "dynamic_intervals": [(8, 3)]},
]


def validations(runner, unit):
    counters = {"epoch": 1, "iter": 2}[unit]
    return [moment[counters] for moment in runner.recorder.moments if moment[0] is Event.BEFORE_VAL]


def expected(cfg, last, default_interval):
    interval = cfg.get("val_interval", default_interval)
    return reference(cfg.get("val_begin", 1), interval, cfg.get("dynamic_intervals", []), last)


@pytest.mark.parametrize("cfg", CASES)
def test_epochs_are_validated_by_the_rule(tiny, cfg):
    runner = tiny().with_val([0]).train_epochs(range(2), max_epochs=11, **cfg)
    assert validations(runner, "epoch") == expected(cfg, 11, 1)
    assert runner.iter == 22


@pytest.mark.parametrize("cfg", CASES)
@pytest.mark.parametrize("n_batches", [1, 3, 100])
def test_iterations_are_validated_by_the_rule(tiny, cfg, n_batches):
    runner = tiny().with_val([0]).train_iters(range(n_batches), max_iters=11, **cfg)
    assert validations(runner, "iter") == expected(cfg, 11, 1000)
    assert runner.trained_on == [i % n_batches for i in range(11)]


def test_the_interval_now_in_force_is_shown(tiny):
    runner = tiny().train_epochs([1], max_epochs=4, val_interval=3, dynamic_intervals=[(3, 1)])
    loop = runner.train_loop
    assert (loop.val_begin, loop.val_interval) == (1, 1)


def test_without_a_validation_loop_none_is_run(tiny):
    # All that a whole run fires, but for before_run and after_run, which are the runner's.
    assert tiny().train_epochs(range(2), max_epochs=2).recorder.events == list(epoch_run_events(2, 2))[1:-1]
    runner = tiny().train_iters(range(2), max_iters=5, val_interval=1)
    assert runner.recorder.events == list(iter_run_events(5))[1:-1]
