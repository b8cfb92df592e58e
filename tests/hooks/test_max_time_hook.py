"""MaxTimeHook with a clock that the test moves: every iteration takes as long as it says."""

from types import SimpleNamespace

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine import Event
from trainwright.hooks import MaxTimeHook, max_time_hook
from trainwright.runner import Runner
from trainwright.state import Completing, RunContext
from trainwright.testing.ranks import run_ranks
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import MovedClock, differences, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 4}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 16, "val_interval": 4}


@pytest.fixture
def clock(monkeypatch):
    time = MovedClock()
    monkeypatch.setattr(max_time_hook, "perf_counter", time)
    return time


def make(work_dir, clock, max_time, *hooks, **changes) -> Runner:
    settings = changes.pop("settings", {})
    hooks = [{"type": "MaxTimeHook", "max_time": max_time, **settings}, clock, *hooks]
    loader = toy_loader(16, 4, noise=0.3)
    return Runner.from_cfg(
        toy_config(work_dir, **{"train_dataloader": loader, "train_cfg": EPOCHS, "custom_hooks": hooks, **changes})
    )


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
def test_a_run_in_parts_is_the_run_in_one_piece(tmp_path, clock, train_cfg):
    whole = make(tmp_path / "whole", clock, "1d", train_cfg=train_cfg)
    whole.train()
    first = make(tmp_path / "parts", clock, "1min 5s", train_cfg=train_cfg)
    assert first.train() is first.model  # it ends as a planned end does
    assert first.iter == 7
    assert (tmp_path / "parts" / "iter_7.pth").is_file()
    second = make(tmp_path / "parts", clock, 105, train_cfg=train_cfg, resume=True)
    second.train()
    assert second.iter == 11  # the 70 s of the first part count
    third = make(tmp_path / "parts", clock, 60, train_cfg=train_cfg, resume=True, settings={"across_resumes": False})
    third.train()
    assert third.iter == 16
    assert not differences(third.strategy.state_tree(), whole.strategy.state_tree())


def test_it_says_so(tmp_path, clock):
    runner = make(tmp_path, clock, 15)
    runner.train()
    assert runner.iter == 2
    text = next(tmp_path.glob("*/*.log")).read_text(encoding="utf-8")
    assert "training ended after iteration 2 of 16, because MaxTimeHook: max_time of 15 s is over" in text


def test_a_long_validation_counts(tmp_path, clock):
    clock.val_s = 100
    runner = make(tmp_path, clock, 120)
    runner.train()
    assert runner.iter == 4
    assert runner.message_hub.get_scalar("val/accuracy/top1").current() >= 0


def test_before_a_validation_that_is_due_it_stops_and_the_resume_validates(tmp_path, clock):
    recorder = EventRecorder()
    runner = make(tmp_path, clock, 40, recorder)
    runner.train()
    assert (runner.iter, recorder.count(Event.BEFORE_VAL)) == (4, 0)
    recorder = EventRecorder()
    make(tmp_path, clock, 70, recorder, resume=True).train()
    assert recorder.events.index(Event.BEFORE_VAL) < recorder.events.index(Event.BEFORE_TRAIN_ITER)


def test_time_that_is_over_with_the_training_stops_nothing(tmp_path, clock):
    recorder = EventRecorder()
    runner = make(tmp_path, clock, 160, recorder)
    runner.train()
    assert runner.iter == 16
    assert recorder.count(Event.AFTER_VAL) == 4
    assert not next(h for h in runner.hooks if isinstance(h, MaxTimeHook)).stopped
    assert not list(tmp_path.glob("iter_*"))


def test_it_waits_for_the_end_of_an_accumulation_window(tmp_path, clock):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4}
    runner = make(tmp_path, clock, 55, optim_wrapper=wrapper)
    runner.train()
    assert runner.iter == 8


def test_a_stop_by_somebody_else_stays_theirs(tmp_path, clock):
    stop = StopAt(Event.AFTER_TRAIN_ITER, 2, interrupts=False)
    stop.priority = "NORMAL"
    runner = make(tmp_path, clock, 15, stop)
    runner.train()
    assert runner.ctx.stop.reason == "after_train_iter number 2"
    assert not list(tmp_path.glob("iter_*"))


def test_a_second_training_of_one_runner_has_time_left_only_where_there_is_some(tmp_path, clock):
    runner = make(tmp_path, clock, 35)
    runner.train()
    runner.train()
    assert runner.iter == 5  # one more, at whose end the time was over before


def test_it_looks_seldom(clock):
    """Iterations of a millisecond: the looks are rare, and yet none is later than half of what is left."""
    clock.iter_s = 0.001
    looks = []
    hook = MaxTimeHook(100.0)
    ctx = RunContext("x", SimpleNamespace(host=None, calls={}, wake_at=0))
    runner = SimpleNamespace(ctx=ctx, iter=0, max_epochs=None, max_iters=None, epoch=0)
    hook.before_train(runner)
    while not hook.stopped:
        clock.now += clock.iter_s
        if hook.next_train_iter(runner) <= runner.iter:
            looks.append(runner.iter)
            ctx.clock.completing = Completing.ITERATION
            hook.after_train_iter(runner, 0)
        runner.iter = ctx.clock.iter = runner.iter + 1
    assert len(looks) < 60
    assert runner.iter == pytest.approx(100_000, abs=5)


def ended_at(rank: int) -> int:
    clock = MovedClock(10.0 + 30 * rank)
    max_time_hook.perf_counter = clock
    hook = MaxTimeHook(100.0)
    ctx = RunContext("x", SimpleNamespace(host=None, calls={}, wake_at=0))
    runner = SimpleNamespace(ctx=ctx, iter=0, max_epochs=None, max_iters=None, epoch=0)
    hook.before_train(runner)
    while not ctx.stop.now:
        clock.now += clock.iter_s
        ctx.clock.completing = Completing.ITERATION
        hook.after_train_iter(runner, 0)
        runner.iter = ctx.clock.iter = runner.iter + 1
    return runner.iter


def by_rank() -> int:
    from trainwright.dist import get_rank

    return ended_at(get_rank())


def test_ranks_end_together():
    results = run_ranks(2, by_rank)
    assert results[0] == results[1] == pytest.approx(10, abs=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28800), ("1d 12h", 129600), ("90min", 5400), ("90m", 5400), ("1h30s", 3630), (" 2.5 H ", 9000), (7, 7)],
)
def test_times(text, seconds):
    assert MaxTimeHook(text).max_time_s == seconds


@pytest.mark.parametrize("value", ["", "8", "8 weeks", "h", "1h x", 0, -3, "0s", float("inf"), float("nan")])
def test_what_is_no_time(value):
    with pytest.raises(ConfigError, match="max_time must be a number of seconds above 0, or a text such as '8h'"):
        MaxTimeHook(value)


@pytest.mark.parametrize("value", [None, True, [8]])
def test_what_is_not_even_a_number(value):
    with pytest.raises(ConfigTypeError, match="MaxTimeHook max_time must be a number of seconds"):
        MaxTimeHook(value)
