"""The estimate of the end, with a clock of the test's own: what is still to come is known exactly."""

import itertools

import pytest

from trainwright.engine import ValSchedule
from trainwright.hooks import IterTimerHook, iter_timer_hook
from trainwright.runner import Runner
from trainwright.testing.recorder import Hook
from trainwright.testing.toys import toy_config

STEP_S, VAL_BATCH_S, EVALUATE_S, SAVE_S, FIRST_S = 1.0, 0.5, 2.0, 3.0, 30.0


class Passing(Hook):
    """Lets time pass where a run spends it, and keeps (now, estimate, what the log line would say) as it goes."""

    priority = "LOWEST"

    def __init__(self):
        self.now, self.seen = 0.0, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now += FIRST_S if runner.iter == 0 else STEP_S

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.look(runner)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.look(runner)
        self.now += VAL_BATCH_S

    def after_train_epoch(self, runner):
        if runner.by_epoch:
            self.now += SAVE_S

    def on_train_closed(self, runner):
        self.look(runner)

    def look(self, runner):
        self.seen.append((runner.iter, self.now, timer_of(runner).remaining_s(runner)))


class Evaluating(Hook):
    priority = "VERY_HIGH"

    def __init__(self, passing):
        self.passing = passing

    def after_val_epoch(self, runner, metrics=None):
        self.passing.now += EVALUATE_S


def timer_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, IterTimerHook))


def trained(tmp_path, monkeypatch, **changes):
    passing = Passing()
    monkeypatch.setattr(iter_timer_hook, "perf_counter", lambda: passing.now)
    cfg = toy_config(
        tmp_path, default_hooks={"checkpoint": None}, custom_hooks=[passing, Evaluating(passing)], **changes
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return passing


BY_EPOCH = {"by_epoch": True, "max_epochs": 5}
BY_ITER = {"by_epoch": False, "max_iters": 23, "val_interval": 5}


@pytest.mark.parametrize(
    "train_cfg",
    [
        BY_EPOCH,
        {**BY_EPOCH, "val_interval": 2},
        {**BY_EPOCH, "val_begin": 2, "dynamic_intervals": [(4, 3)]},
        BY_ITER,
        {**BY_ITER, "dynamic_intervals": [(12, 3)]},
    ],
)
def test_once_a_validation_was_seen_the_estimate_is_exact(tmp_path, monkeypatch, train_cfg):
    passing = trained(tmp_path, monkeypatch, train_cfg=train_cfg)
    end = passing.now
    # From the first iteration behind the first validation on (by epoch: the break after the epoch was seen as well).
    seen = list(itertools.dropwhile(lambda look: look[0] < 9, passing.seen))
    assert len(seen) > 10
    for iteration, now, estimate in seen[:-1]:
        assert estimate == pytest.approx(end - now), f"in iteration {iteration}"
    assert seen[-1][2] == pytest.approx(0.0)


def test_the_first_iteration_which_sets_things_up_is_no_measure(tmp_path, monkeypatch):
    passing = trained(tmp_path, monkeypatch, val_dataloader=None, val_cfg=None, val_evaluator=None)
    estimates = [estimate for _, _, estimate in passing.seen]
    assert estimates[0] == 7 * FIRST_S, "there is nothing else to go by"
    assert estimates[1:3] == [6 * STEP_S, 5 * STEP_S]


def test_before_the_first_validation_a_batch_of_it_counts_as_a_forward(tmp_path, monkeypatch):
    """Two batches of validation after each of two epochs, as large as those of training."""
    passing = trained(tmp_path, monkeypatch)
    left, guess = 6 * STEP_S, 2 * 2 * STEP_S / 3
    assert passing.seen[1][2] == pytest.approx(left + guess)


def test_while_one_runs_what_is_left_of_it_counts(tmp_path, monkeypatch):
    """In the first validation: what was seen of it says how long a batch is."""
    passing = trained(tmp_path, monkeypatch)
    inside = [look for look in passing.seen if look[0] == 4][:2]
    # Before the second batch: half of the first pass is left, and the second pass is to come.
    assert inside[1][2] == pytest.approx(4 * STEP_S + 1 * VAL_BATCH_S + 2 * VAL_BATCH_S)


def test_a_loop_of_ones_own_has_an_estimate_of_its_iterations(tmp_path, monkeypatch):
    passing = Passing()
    monkeypatch.setattr(iter_timer_hook, "perf_counter", lambda: passing.now)
    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=[passing]))
    monkeypatch.setattr(iter_timer_hook, "TrainLoop", tuple)  # as if the loop were none of the engine's
    runner.train()
    assert passing.seen[2][2] == pytest.approx(5 * STEP_S)


@pytest.mark.parametrize(("duration", "tokens"), [("64 s", None), ("120 tok", "inputs")])
def test_a_run_that_ends_by_time_or_tokens(tmp_path, monkeypatch, duration, tokens):
    """Four samples of six numbers an iteration: 24 tokens of 120, or 1 of the 64 seconds and 30 for the first one."""
    passing = Passing()
    for module in ("hooks.iter_timer_hook", "engine.loops.budget"):
        monkeypatch.setattr(f"trainwright.{module}.perf_counter", lambda: passing.now)
    train_cfg = {"by_epoch": False, "max_duration": duration, "val_interval": 1000}
    train_cfg.update({} if tokens is None else {"tokens": tokens})
    Runner.from_cfg(toy_config(tmp_path, train_cfg=train_cfg, custom_hooks=[passing])).train()
    estimates = [estimate for _, _, estimate in passing.seen]
    expected = [64 - 30 - 1, 64 - 30 - 2] if tokens is None else [3 * STEP_S, 2 * STEP_S]
    assert estimates[1:3] == pytest.approx(expected)


@pytest.mark.parametrize("begin", [1, 4, 30])
@pytest.mark.parametrize("interval", [1, 3, 7])
@pytest.mark.parametrize("dynamic", [None, [(5, 2)], [(4, 5), (11, 1)], [(1, 4), (40, 2)]])
def test_validations_to_come_are_counted_without_walking(begin, interval, dynamic):
    schedule = ValSchedule(begin, interval, dynamic)
    for last in (1, 2, 10, 25):
        for done in range(last + 1):
            walked = sum(schedule.due(unit, last) for unit in range(done + 1, last + 1))
            assert schedule.n_due(done, last) == walked
