"""The timeline of engine/events.py against what whole runs fire."""

import pytest

from trainwright.engine import Event
from trainwright.engine.events import Phase, epoch_run_events, evaluation_events, iter_run_events
from trainwright.runner import Runner
from trainwright.testing.recorder import EventRecorder
from trainwright.testing.toys import toy_config, toy_loader

OFF = dict.fromkeys(("runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"))


def run(tmp_path, method="train", **changes):
    recorder = EventRecorder()
    config = toy_config(tmp_path, default_hooks=OFF, **changes)
    runner = Runner.from_cfg(config)
    runner.register_hook(recorder)
    getattr(runner, method)()
    return recorder


NO_VAL = {"val_dataloader": None, "val_cfg": None, "val_evaluator": None}


@pytest.mark.parametrize(("max_epochs", "val_interval"), [(1, 1), (3, 2), (4, 2), (2, 9)])
def test_a_run_of_epochs(tmp_path, max_epochs, val_interval):
    cfg = {"by_epoch": True, "max_epochs": max_epochs, "val_interval": val_interval}
    recorder = run(tmp_path, train_cfg=cfg)
    assert recorder.events == list(epoch_run_events(max_epochs, 4, val_interval, 2))


def test_a_run_of_epochs_without_validation(tmp_path):
    recorder = run(tmp_path, **NO_VAL)
    assert recorder.events == list(epoch_run_events(2, 4))


@pytest.mark.parametrize(("max_iters", "val_interval"), [(1, 1), (9, 2), (8, 3), (5, 1000)])
def test_a_run_of_iterations(tmp_path, max_iters, val_interval):
    cfg = {"by_epoch": False, "max_iters": max_iters, "val_interval": val_interval}
    recorder = run(tmp_path, train_cfg=cfg)
    assert recorder.events == list(iter_run_events(max_iters, val_interval, 2))


def test_a_run_of_iterations_without_validation(tmp_path):
    recorder = run(tmp_path, train_cfg={"by_epoch": False, "max_iters": 6}, **NO_VAL)
    assert recorder.events == list(iter_run_events(6))


def test_validation_alone(tmp_path):
    recorder = run(tmp_path, "val")
    assert recorder.events == [Event.BEFORE_RUN, *evaluation_events(Phase.VAL, 2), Event.AFTER_RUN]


def test_test_alone(tmp_path):
    part = {"test_dataloader": toy_loader(12, shuffle=False), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    recorder = run(tmp_path, "test", **part)
    assert recorder.events == [Event.BEFORE_RUN, *evaluation_events(Phase.TEST, 3), Event.AFTER_RUN]


def test_counters_that_hooks_see_in_a_run_of_epochs(tmp_path):
    moments = run(tmp_path).moments
    seen = {event: [(epoch, i) for e, epoch, i in moments if e is event] for event in Event}
    assert seen[Event.BEFORE_TRAIN_ITER] == seen[Event.AFTER_TRAIN_ITER] == [(i // 4, i) for i in range(8)]
    assert seen[Event.BEFORE_TRAIN_EPOCH] == [(0, 0), (1, 4)]
    assert seen[Event.AFTER_TRAIN_EPOCH] == [(0, 4), (1, 8)]
    assert seen[Event.BEFORE_VAL] == seen[Event.AFTER_VAL_EPOCH] == [(1, 4), (2, 8)]
    assert seen[Event.AFTER_TRAIN] == seen[Event.TRAIN_CLOSED] == [(2, 8)]


def test_counters_that_hooks_see_in_a_run_of_iterations(tmp_path):
    moments = run(tmp_path, train_cfg={"by_epoch": False, "max_iters": 5, "val_interval": 2}).moments
    seen = {event: [(epoch, i) for e, epoch, i in moments if e is event] for event in Event}
    assert seen[Event.AFTER_TRAIN_ITER] == [(0, i) for i in range(5)]
    assert seen[Event.BEFORE_VAL] == [(0, 2), (0, 4), (0, 5)]
    assert seen[Event.AFTER_TRAIN_EPOCH] == [(0, 5)]


def test_every_event_is_a_hook_method_and_every_phase_has_its_six():
    assert len({event.value for event in Event}) == len(Event)
    for phase in Phase:
        six = (phase.begin, phase.before_epoch, phase.before_iter, phase.after_iter, phase.after_epoch, phase.end)
        assert all(phase.label in event.value for event in six)
    assert [phase.trains for phase in Phase] == [True, False, False]
