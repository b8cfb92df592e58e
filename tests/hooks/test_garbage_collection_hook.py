import gc

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.engine import Event, Hook
from trainwright.hooks import GarbageCollectionHook
from trainwright.runner import Runner
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import toy_config, toy_loader

BY_ITER = {"type": "IterBasedTrainLoop", "max_iters": 8, "val_interval": 4}


@pytest.fixture
def collections(monkeypatch):
    """(generation, iteration) of every collection; python's own is watched through its switch."""
    seen = []
    monkeypatch.setattr(gc, "collect", lambda generation=2: seen.append(generation) or 0)
    return seen


class Watch(Hook):
    priority = "LOWEST"

    def __init__(self, seen) -> None:
        self.seen, self.at = seen, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.at.append((runner.iter, len(self.seen), gc.isenabled()))


@pytest.mark.parametrize("train_cfg", [{"by_epoch": True, "max_epochs": 2}, BY_ITER], ids=["epochs", "iters"])
def test_collects_at_its_interval_and_after_validation(tmp_path, collections, train_cfg):
    assert gc.isenabled()
    watch = Watch(collections)
    hooks = [{"type": "GarbageCollectionHook", "interval": 3}, watch]
    Runner.from_cfg(toy_config(tmp_path, train_cfg=train_cfg, custom_hooks=hooks)).train()
    # One before training, in iterations 2 and 5, and after the validation behind iterations 3 and 7.
    assert [n for _, n, _ in watch.at] == [1, 1, 2, 2, 3, 4, 4, 4]
    assert collections == [2, 1, 1, 1, 1]
    assert not any(enabled for *_, enabled in watch.at)
    assert gc.isenabled()


@pytest.mark.parametrize("how", ["stopped", "failed"])
def test_is_as_before_whatever_ended_the_training(tmp_path, how):
    hooks = [{"type": "GarbageCollectionHook", "interval": 3}]
    changes = {}
    if how == "stopped":
        hooks.append(StopAt(Event.AFTER_TRAIN_ITER, 2, interrupts=False))
    else:
        changes["train_dataloader"] = toy_loader(fail_at=5)
    runner = Runner.from_cfg(toy_config(tmp_path, custom_hooks=hooks, **changes))
    if how == "failed":
        with pytest.raises(DataError):
            runner.train()
    else:
        runner.train()
    assert gc.isenabled()


def test_stays_off_where_it_was_off(tmp_path):
    gc.disable()
    try:
        Runner.from_cfg(toy_config(tmp_path, custom_hooks=[GarbageCollectionHook()])).train()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"interval": 0}, ConfigError, "GarbageCollectionHook interval must be at least 1, but got 0"),
        ({"interval": 1.5}, ConfigTypeError, "interval must be a whole number, but got 1.5"),
        ({"generation": 3}, ConfigError, "generation must be 0, 1 or 2, but got 3"),
        ({"generation": -1}, ConfigError, "generation must be at least 0, but got -1"),
    ],
)
def test_settings(settings, error, text):
    with pytest.raises(error, match=text):
        GarbageCollectionHook(**settings)
