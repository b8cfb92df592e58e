"""What hooks cost, with a clock that only the hooks and steps of the test move: every number is known."""

import re

import pytest

from trainwright.engine import Hook, HookProfile, HookTable
from trainwright.engine.hook_profile import KEPT_TIMES, CallTimes
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


class Watch:
    """A clock that stands still until somebody works."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def work(self, milliseconds):
        self.now += milliseconds / 1000


class Working(Hook):
    def __init__(self, watch, ms=1.0, first_ms=None):
        self.watch, self.ms, self.first_ms = watch, ms, first_ms

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        first, self.first_ms = self.first_ms, None
        self.watch.work(self.ms if first is None else first)


class Quick(Working):
    pass


class Slow(Working):
    pass


class Sleeper(Working):
    """Works in every fifth iteration; being asked when costs a little as well."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.watch.work(self.ms)

    def next_train_iter(self, runner):
        self.watch.work(0.25)
        return runner.iter + (4 - runner.iter % 5)


def profiled(tiny, watch, *hooks, step_ms=0.0, epochs=2, batches=10):
    runner = tiny(*hooks)
    step = runner.model.step

    def working(batch, **kwargs):
        watch.work(step_ms)
        return step(batch, **kwargs)

    runner.strategy.train_step_function = lambda: working
    runner.ctx.hooks.profile = HookProfile(watch)
    runner.train_epochs(range(batches), max_epochs=epochs)
    return runner.ctx.hooks.profile


def cost_of(profile, hook, event="after_train_iter"):
    (found,) = (call for call in profile.costs if (call.hook, call.event) == (hook, event))
    return found


def test_a_slow_hook_is_named_with_its_share(tiny):
    watch = Watch()
    profile = profiled(tiny, watch, Quick(watch, 0.25), Slow(watch, 4.0), step_ms=15.75)
    report = profile.report()
    slow = cost_of(profile, "Slow")
    assert (slow.n_calls, slow.first_s, slow.max_s) == (20, pytest.approx(0.004), pytest.approx(0.004))
    assert "Slow is slow: 20.0% of the time, 4.000 ms an iteration, most of it in after_train_iter." in report
    assert "Quick is slow" not in report
    rows = [line.split() for line in report.splitlines() if line.startswith(("Slow  ", "Quick  "))]
    assert rows == [
        ["Slow", "after_train_iter", "20", "4.000", "4.000", "4.000", "4.000", "4.000", "20.0%"],
        ["Quick", "after_train_iter", "20", "0.250", "0.250", "0.250", "0.250", "0.250", "1.2%"],
    ]
    assert "20 iterations of train: step 15.750 ms each (78.8%)" in report


def test_a_busy_hook_is_named_by_the_real_clock(tiny):
    """Two hooks on the same real clock: one adds up 2,000,000 numbers in each iteration, the other does nothing."""

    class Busy(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            sum(range(2_000_000))

    class Idle(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            pass

    runner = tiny(Idle(), Busy())
    runner.ctx.hooks.profile = HookProfile()
    runner.train_epochs(range(10), max_epochs=2)
    profile = runner.ctx.hooks.profile
    assert profile.costs[0].hook == "Busy"
    assert cost_of(profile, "Busy").total_s > cost_of(profile, "Idle").total_s
    assert re.search(r"Busy is slow: \d\d\.\d% of the time", profile.report())


def test_the_first_call_stands_apart(tiny):
    watch = Watch()
    profile = profiled(tiny, watch, Working(watch, 1.0, first_ms=500.0), step_ms=50)
    cost = cost_of(profile, "Working")
    assert (cost.first_s, cost.median_s, cost.mean_s, cost.max_s) == pytest.approx((0.5, 0.001, 0.001, 0.001))
    assert "most of it in the first call of after_train_iter (500.000 ms)" in profile.report()


def test_a_sleeping_hook_is_called_as_often_as_ever_and_its_being_asked_is_seen(tiny):
    watch = Watch()
    profile = profiled(tiny, watch, Sleeper(watch, 10.0), step_ms=10)
    assert cost_of(profile, "Sleeper").n_calls == 4
    row = re.search(r"^Sleeper +after_train_iter .*", profile.report(), re.MULTILINE).group().split()
    assert row[2:-1] == ["4", "10.000", "10.000", "10.000", "10.000", "2.000"]
    asked = cost_of(profile, "Sleeper", "next_train_iter")
    assert 4 <= asked.n_calls <= 8
    assert asked.mean_s == pytest.approx(0.00025)
    assert cost_of(profile, "Sleeper").total_s / 20 == pytest.approx(0.002)


def test_a_hook_that_makes_others_be_called_is_not_charged_for_them(tiny):
    watch = Watch()

    class Saving(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            watch.work(1)
            runner.call_hook("before_save_checkpoint", checkpoint={})
            watch.work(1)

    class Packing(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            watch.work(7)

    profile = profiled(tiny, watch, Saving(), Packing())
    assert cost_of(profile, "Saving").mean_s == pytest.approx(0.002)
    assert cost_of(profile, "Packing", "before_save_checkpoint").mean_s == pytest.approx(0.007)
    assert sum(call.total_s for call in profile.costs) == pytest.approx(profile.wall_s)


def test_a_hook_that_fails_is_charged_and_the_error_goes_on(tiny):
    watch = Watch()

    class Failing(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            watch.work(3)
            raise ZeroDivisionError

    runner = tiny(Failing())
    runner.ctx.hooks.profile = HookProfile(watch)
    with pytest.raises(ZeroDivisionError):
        runner.train_epochs(range(3), max_epochs=1)
    assert cost_of(runner.ctx.hooks.profile, "Failing").first_s == pytest.approx(0.003)


def test_waiting_for_data_and_validation_have_numbers_of_their_own(tiny, monkeypatch):
    watch = Watch()
    monkeypatch.setattr("trainwright.engine.core.perf_counter", watch)

    def batches():
        for n in range(4):
            watch.work(30)
            yield n

    class Loader:
        def __len__(self):
            return 4

        def __iter__(self):
            return batches()

    runner = tiny().with_val([1, 2])
    runner.ctx.hooks.profile = HookProfile(watch)
    runner.train_epochs(Loader(), max_epochs=1)
    report = runner.ctx.hooks.profile.report()
    assert "4 iterations of train: step 0.000 ms each (0.0%), waiting for data 30.000 ms each" in report
    assert "2 iterations of val: step 0.000 ms each" in report


def test_tables_are_plain_again_when_it_is_off(tiny):
    hook = Quick(Watch())
    table = HookTable(None)
    table.add(hook)
    before = dict(table.calls)
    table.profile = HookProfile()
    assert table.calls != before
    table.profile = None
    assert table.calls == before
    assert list(before.values()).count(()) == len(before) - 1


def test_nothing_measured_says_so():
    assert HookProfile().report() == "hook costs: nothing was measured."


def test_the_median_is_of_the_newest_calls():
    times = CallTimes("Any", "any")
    for n in range(KEPT_TIMES * 2 + 1):
        times.add(float(n > KEPT_TIMES))
    assert (times.median_s, times.mean_s, times.n_calls) == (1.0, 0.5, 2 * KEPT_TIMES + 1)
    assert len(times.newest) == KEPT_TIMES


def test_a_runner_says_it_in_the_log_and_in_its_hooks_info(tmp_path):
    class Dear(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            sum(range(300_000))

    runner = Runner.from_cfg(toy_config(tmp_path, log_level="INFO", custom_hooks=[Dear()]))
    plain = runner.get_hooks_info()
    runner.profile_hooks()
    runner.train()
    info = runner.get_hooks_info()
    assert info.startswith(plain)
    assert "Dear is slow: " in info
    with open(f"{runner.log_dir}/{runner.timestamp}.log") as file:
        log = file.read()
    assert "hook costs in milliseconds" in log
    assert re.search(r"^Dear +before_train_iter +8 ", log, re.MULTILINE)
    assert re.search(r"^LoggerHook +after_train_iter ", log, re.MULTILINE)


def test_weights_and_random_numbers_are_the_same_with_it(tmp_path):
    weights = []
    for name in ("plain", "measured"):
        runner = Runner.from_cfg(toy_config(tmp_path / name))
        if name == "measured":
            runner.profile_hooks()
        runner.train()
        weights.append({key: value.tolist() for key, value in runner.model.state_dict().items()})
    assert weights[0] == weights[1]
