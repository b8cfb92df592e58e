"""Trainings that end by a duration; the clock is moved by the test."""

import os
from types import SimpleNamespace

import pytest
import torch

from trainwright.base.durations import parse_duration
from trainwright.base.errors import ConfigError
from trainwright.dist import get_rank
from trainwright.engine import EpochBasedTrainLoop, Event, Hook, IterBasedTrainLoop
from trainwright.engine.loops import budget
from trainwright.runner import Runner
from trainwright.state import RunContext
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.ranks import run_ranks
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import MovedClock, differences, toy_config, toy_loader

EPOCHS, ITERS = {"by_epoch": True}, {"by_epoch": False, "val_interval": 100}
BOTH = pytest.mark.parametrize("kind", [EPOCHS, ITERS], ids=["epochs", "iters"])


@pytest.fixture
def clock(monkeypatch):
    time = MovedClock()
    monkeypatch.setattr(budget, "perf_counter", time)
    return time


def make(work_dir, train_cfg, *hooks, **changes):
    """16 samples in batches of 4, as many tokens a batch."""
    changes.setdefault("train_dataloader", toy_loader(16, 4, noise=0.3))
    return Runner.from_cfg(toy_config(work_dir, train_cfg=train_cfg, custom_hooks=list(hooks), **changes))


def files(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


# the two units of the loops -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train_cfg", "maxima"),
    [
        ({"max_duration": "2 ep"}, (2, 8)),
        ({"by_epoch": True, "max_duration": "2 epochs"}, (2, 8)),
        ({"by_epoch": True, "max_epochs": "2 ep", "val_interval": "1 ep"}, (2, 8)),
        ({"max_duration": "6 it"}, (1, 6)),
        ({"by_epoch": False, "max_duration": "0.006k it"}, (1, 6)),
        ({"by_epoch": False, "max_iters": "6", "val_interval": "3 it"}, (1, 6)),
    ],
)
def test_epochs_and_iterations_are_the_maxima_of_the_loops(tmp_path, train_cfg, maxima):
    runner = make(tmp_path, train_cfg, param_scheduler={"type": "LinearLR", "start_factor": 0.5, "by_epoch": False})
    assert runner.by_epoch == (maxima[0] == 2)
    runner.train()
    assert (runner.max_epochs, runner.max_iters) == maxima
    assert runner.iter == maxima[1]
    assert runner.param_schedulers[0].end == maxima[1]
    assert runner.train_loop.budget is None
    assert isinstance(runner.train_loop, EpochBasedTrainLoop if maxima[0] == 2 else IterBasedTrainLoop)


# tokens ---------------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("limit", "iters"), [(1, 1), (20, 5), (21, 6), (24, 6), (32, 8)])
def test_tokens_end_training_where_they_are_reached(tmp_path, kind, limit, iters):
    recorder = EventRecorder()
    runner = make(tmp_path, {**kind, "max_duration": f"{limit} tok", "tokens": "label"}, recorder)
    assert runner.train() is runner.model
    assert runner.iter == iters
    assert recorder.events[-3:] == [Event.AFTER_TRAIN, Event.TRAIN_CLOSED, Event.AFTER_RUN]
    whole_epochs, inside = divmod(iters, 4)
    if kind is EPOCHS:
        assert recorder.count(Event.AFTER_TRAIN_EPOCH) == whole_epochs
        assert recorder.count(Event.AFTER_VAL_EPOCH) == whole_epochs + bool(inside)
        names = [f"epoch_{n + 1}.pth" for n in range(whole_epochs)] + [f"iter_{iters}.pth"] * bool(inside)
        assert files(tmp_path) == names
    else:
        assert recorder.count(Event.AFTER_TRAIN_EPOCH) == recorder.count(Event.AFTER_VAL_EPOCH) == 1
        assert files(tmp_path) == ["epoch_1.pth"]


@BOTH
@pytest.mark.parametrize("first", [3, 4, 7])
def test_a_run_that_is_prolonged_is_the_run_in_one_piece(tmp_path, kind, first):
    def run(name, n, **changes):
        hook = {"type": "CheckpointHook", "interval": 3, "by_epoch": False}
        cfg = {**kind, "max_duration": f"{4 * n} tok", "tokens": "label"}
        if kind is ITERS:
            cfg["val_interval"] = 2
        runner = make(tmp_path / name, cfg, default_hooks={"checkpoint": hook}, **changes)
        runner.train()
        return runner

    whole = run("whole", 9)
    assert run("parts", first).iter == first
    assert f"iter_{first}.pth" in files(tmp_path / "parts")
    rest = run("parts", 9, resume=True)
    assert rest.iter == 9
    assert not differences(rest.strategy.state_tree(), whole.strategy.state_tree())


@BOTH
def test_what_is_over_is_over_after_a_resume(tmp_path, kind):
    cfg = {**kind, "max_duration": "20 tok", "tokens": "label"}
    make(tmp_path, cfg).train()
    recorder = EventRecorder()
    again = make(tmp_path, cfg, recorder, resume=True, log_level="INFO")
    again.train()
    assert again.iter == 5
    assert recorder.count(Event.BEFORE_TRAIN_ITER) == 0
    assert "max_duration of 20 tok is over: raise it to train on" in _log(again)


def _log(runner):
    with open(f"{runner.log_dir}/{runner.timestamp}.log", encoding="utf-8") as file:
        return file.read()


@BOTH
def test_tokens_are_counted_on_after_an_interruption(tmp_path, kind):
    cfg = {**kind, "max_duration": "40 tok", "tokens": "label"}
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, cfg, StopAt(Event.AFTER_TRAIN_ITER, 6, interrupts=True)).train()
    rest = make(tmp_path, cfg, resume=True)
    rest.train()
    assert rest.iter == 10


def test_a_function_may_count_on_the_device(tmp_path):
    cfg = {**ITERS, "max_duration": "20 tok", "tokens": lambda batch: (batch["label"] >= 0).sum()}
    runner = make(tmp_path, cfg)
    runner.train()
    assert runner.iter == 5


def test_the_epochs_that_are_planned_end_it_before(tmp_path):
    runner = make(tmp_path, {"by_epoch": True, "max_epochs": 1, "max_duration": "8 h"})
    runner.train()
    assert (runner.iter, files(tmp_path)) == (4, ["epoch_1.pth"])


def test_it_waits_for_the_end_of_an_accumulation_window(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4}
    runner = make(tmp_path, {**EPOCHS, "max_duration": "20 tok", "tokens": "label"}, optim_wrapper=wrapper)
    runner.train()
    assert runner.iter == 8


def test_without_a_last_checkpoint_none_is_saved(tmp_path):
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": -1, "save_last": False}}
    make(tmp_path, {**EPOCHS, "max_duration": "20 tok", "tokens": "label"}, default_hooks=hooks).train()
    assert files(tmp_path) == []


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize("async_save", [False, True], ids=["sync", "async"])
def test_what_is_saved_already_is_not_saved_again(tmp_path, layout, async_save):
    saved = []

    class Saves(Hook):
        def after_save_checkpoint(self, runner, path):
            saved.append(os.path.basename(path))

    hook = {"type": "CheckpointHook", "interval": 2, "by_epoch": False, "layout": layout, "async_save": async_save}
    cfg = {**ITERS, "max_duration": "16 tok", "tokens": "label"}
    make(tmp_path, cfg, Saves(), default_hooks={"checkpoint": hook}).train()
    end = "" if layout == "folder" else ".pth"
    assert saved == [f"iter_2{end}", f"iter_4{end}"]


def test_counting_by_a_key_reads_nothing_from_the_device(tmp_path):
    def reads_of(name, **end):
        quiet = {"checkpoint": None, "logger": None}
        off = {"val_cfg": None, "val_dataloader": None, "val_evaluator": None}
        runner = make(tmp_path / name, {**ITERS, **end}, default_hooks=quiet, **off)
        with count_host_reads() as reads:
            runner.train()
        assert runner.iter == 15
        return reads.total

    assert reads_of("tokens", max_duration="60 tok", tokens="label") == reads_of("iters", max_iters=15)


def ended_at() -> tuple[int, list[int]]:
    """Where ranks with batches of 3 and of 5 tokens end, and what they have counted."""
    batches = [torch.zeros(3 + 2 * get_rank())] * 50
    limit = budget.Budget(parse_duration("80 tok", "x"), tokens=len)
    ctx = RunContext("x", SimpleNamespace(host=None, calls={}, wake_at=0))
    limit.start(ctx)
    for _ in limit.batches(iter(batches), ctx):
        ctx.clock.iter += 1
    return ctx.clock.iter, limit.state_dict()["n_tokens"]


def test_ranks_end_together_by_the_tokens_of_all():
    assert run_ranks(2, ended_at) == [(10, [30, 50])] * 2


# time -----------------------------------------------------------------------------------------------------------------


@BOTH
def test_time_ends_training_with_a_validation_and_a_checkpoint(tmp_path, clock, kind):
    recorder = EventRecorder()
    runner = make(tmp_path, {**kind, "max_duration": "1 min 5 s"}, clock, recorder)
    assert runner.train() is runner.model
    assert runner.iter == 7
    assert recorder.count(Event.AFTER_VAL_EPOCH) == (2 if kind is EPOCHS else 1)
    assert files(tmp_path) == (["epoch_1.pth", "iter_7.pth"] if kind is EPOCHS else ["epoch_1.pth"])


def test_the_time_of_all_parts_counts(tmp_path, clock):
    make(tmp_path, {**EPOCHS, "max_duration": "65 s"}, clock).train()
    rest = make(tmp_path, {**EPOCHS, "max_duration": "105 s"}, clock, resume=True)
    rest.train()
    assert rest.iter == 11
    clock.now += 1e6  # between two parts no time counts
    last = make(tmp_path, {**EPOCHS, "max_duration": "115 s"}, clock, resume=True)
    last.train()
    assert last.iter == 12


def test_time_that_is_over_in_a_validation_is_saved_where_it_is_over(tmp_path, clock):
    clock.val_s = 100
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 5}}
    runner = make(tmp_path, {**EPOCHS, "max_duration": "130 s"}, clock, default_hooks=hooks)
    runner.train()
    assert runner.iter == 4
    assert files(tmp_path) == ["iter_4.pth"]


# what does not go together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train_cfg", "message"),
    [
        ({"max_duration": "8 h"}, "max_duration='8 h' ends either kind of training: say by_epoch=True"),
        ({"max_duration": "8 hurs"}, "train_cfg.max_duration: .*There is no unit 'hurs'.*Did you mean 'hours'"),
        ({"by_epoch": True, "max_duration": "9 it"}, "does not fit this loop, whose end is max_epochs: set by"),
        ({"by_epoch": False, "max_duration": "9 ep"}, "does not fit this loop, whose end is max_iters: set by"),
        ({"by_epoch": True, "max_epochs": 2, "max_duration": "9 ep"}, "both max_epochs=2 and max_duration='9 ep'"),
        ({"by_epoch": True, "max_duration": "9 tok"}, "does not say how tokens are counted: set tokens='input_ids'"),
        ({"by_epoch": True, "max_duration": "9 h", "tokens": "label"}, "max_duration='32400 s' counts none"),
        ({"by_epoch": True, "max_duration": "9 ep", "tokens": "label"}, "max_duration='9 ep' counts none"),
        ({"by_epoch": True, "max_epochs": 9, "tokens": "label"}, "tokens='label', and no max_duration that counts"),
        ({"by_epoch": True, "max_epochs": "9 it"}, "which is in iterations. Set train_cfg=dict"),
        ({"by_epoch": True, "max_epochs": 9, "max_duratoin": "9 h"}, "Did you mean 'max_duration'"),
        ({"by_epoch": True, "max_epochs": 9, "limit_batch": 2}, "Did you mean 'limit_batches'"),
    ],
)
def test_what_the_check_of_a_config_refuses(tmp_path, train_cfg, message):
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, train_cfg)


def test_a_validation_interval_in_the_other_unit(tmp_path):
    runner = make(tmp_path, {"by_epoch": True, "max_epochs": 2, "val_interval": "9 it"})
    with pytest.raises(ConfigError, match="val_interval must be a whole number.*which is in iterations"):
        runner.train()


def test_a_key_that_the_batch_does_not_have(tmp_path):
    runner = make(tmp_path, {**EPOCHS, "max_duration": "20 tok", "tokens": "lable"})
    with pytest.raises(ConfigError, match="train_cfg tokens='lable' is no key of the batch: .*Did you mean 'label'"):
        runner.train()


@BOTH
def test_a_schedule_to_the_end_of_training_needs_one(tmp_path, kind):
    schedule = {"type": "CosineAnnealingLR", "by_epoch": False}
    runner = make(tmp_path, {**kind, "max_duration": "8 h"}, param_scheduler=schedule)
    with pytest.raises(ConfigError, match="nobody knows max_iters: training ends by time or tokens"):
        runner.train()
