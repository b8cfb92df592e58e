"""The order of a whole run, against the timeline that is drawn as code."""

import pytest

from trainwright.engine import Event, Hook, Phase
from trainwright.engine.events import epoch_run_events, evaluation_events, iter_run_events
from trainwright.runner import Runner
from trainwright.testing.recorder import EventRecorder, StopAt
from trainwright.testing.toys import toy_config, toy_loader

SAVING = (Event.BEFORE_SAVE_CHECKPOINT, Event.AFTER_SAVE_CHECKPOINT)


def recorded(cfg, call="train"):
    recorder = EventRecorder()
    runner = Runner.from_cfg({**cfg, "custom_hooks": [*cfg.get("custom_hooks", []), recorder]})
    getattr(runner, call)()
    return recorder, runner


@pytest.mark.parametrize(("epochs", "interval"), [(1, 1), (3, 1), (3, 2), (5, 3)])
def test_by_epoch(tmp_path, epochs, interval):
    train_cfg = {"by_epoch": True, "max_epochs": epochs, "val_interval": interval}
    recorder, _ = recorded(toy_config(tmp_path, train_cfg=train_cfg))
    expected = list(epoch_run_events(epochs, 4, val_interval=interval, val_length=2))
    assert [event for event in recorder.events if event not in SAVING] == expected


@pytest.mark.parametrize(("iters", "interval"), [(6, 2), (7, 3), (3, 100)])
def test_by_iteration(tmp_path, iters, interval):
    train_cfg = {"by_epoch": False, "max_iters": iters, "val_interval": interval}
    hooks = {"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 4}}
    recorder, _ = recorded(toy_config(tmp_path, train_cfg=train_cfg, default_hooks=hooks))
    expected = list(iter_run_events(iters, val_interval=interval, val_length=2))
    assert [event for event in recorder.events if event not in SAVING] == expected


def test_without_validation(tmp_path):
    cfg = toy_config(
        tmp_path, val_dataloader=None, val_cfg=None, val_evaluator=None, default_hooks={"checkpoint": None}
    )
    recorder, _ = recorded(cfg)
    assert recorder.events == list(epoch_run_events(2, 4))


@pytest.mark.parametrize(("call", "phase"), [("val", Phase.VAL), ("test", Phase.TEST)])
def test_evaluation_alone(tmp_path, call, phase):
    part = {"test_dataloader": toy_loader(8, shuffle=False), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    recorder, _ = recorded(toy_config(tmp_path, **part), call)
    assert recorder.events == [Event.BEFORE_RUN, *evaluation_events(phase, 2), Event.AFTER_RUN]


def test_counters_that_hooks_see(tmp_path):
    recorder, _ = recorded(toy_config(tmp_path))
    seen = {event: [(epoch, n) for e, epoch, n in recorder.moments if e is event] for event in recorder.events}
    assert seen[Event.BEFORE_TRAIN_ITER] == seen[Event.AFTER_TRAIN_ITER]
    assert seen[Event.AFTER_TRAIN_ITER] == [(n // 4, n) for n in range(8)]
    assert seen[Event.AFTER_TRAIN_EPOCH] == [(0, 4), (1, 8)]
    assert seen[Event.AFTER_VAL_EPOCH] == [(1, 4), (2, 8)]


def test_before_run_comes_before_loading(tmp_path):
    recorded(toy_config(tmp_path))
    recorder, _ = recorded(toy_config(tmp_path, resume=True, train_cfg={"by_epoch": True, "max_epochs": 3}))
    assert recorder.events[:3] == [Event.BEFORE_RUN, Event.AFTER_LOAD_CHECKPOINT, Event.BEFORE_TRAIN]


def test_what_hooks_get(tmp_path):
    got = {}

    class Looking(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            got["before"] = (batch_idx, sorted(data_batch))

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            got["after"] = (batch_idx, sorted(data_batch), sorted(outputs))

        def after_val_iter(self, runner, outputs, batch_idx, data_batch):  # an order of its own
            got["val"] = (batch_idx, sorted(data_batch), sorted(outputs))

        def after_val_epoch(self, runner, metrics=None):
            got["metrics"] = metrics

        def before_save_checkpoint(self, runner, checkpoint):
            checkpoint["mine"] = 1

        def after_save_checkpoint(self, runner, path):
            got["path"] = path

    _, runner = recorded(toy_config(tmp_path, custom_hooks=[Looking()]))
    assert got["before"] == (3, ["inputs", "label"])
    assert got["after"] == (3, ["inputs", "label"], ["loss"])
    assert got["val"] == (1, ["inputs", "label"], ["label", "scores"])
    assert got["metrics"].keys() == {"accuracy/top1"}
    assert got["path"] == str(tmp_path / "epoch_2.pth")


def test_a_stop_that_does_not_interrupt(tmp_path):
    recorder, runner = recorded(toy_config(tmp_path, custom_hooks=[StopAt(Event.AFTER_VAL, 1, interrupts=False)]))
    assert recorder.events[-3:] == [Event.AFTER_TRAIN, Event.TRAIN_CLOSED, Event.AFTER_RUN]
    assert runner.epoch == 1


def test_stop_training_ends_after_the_epoch(tmp_path):
    class Early(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = True

    recorder, runner = recorded(toy_config(tmp_path, custom_hooks=[Early()]))
    assert (runner.epoch, runner.iter) == (1, 4)
    assert recorder.count(Event.AFTER_TRAIN_EPOCH) == 1


def test_train_again_goes_on_from_where_it_is(tmp_path):
    recorder, runner = recorded(toy_config(tmp_path))
    runner.train()
    assert recorder.count(Event.AFTER_TRAIN_ITER) == 8
