"""What a training is to hooks and to the runner when the loop has a ``run()`` of its own, as many have for MMEngine."""

from pathlib import Path

import pytest

from trainwright.base.errors import Interrupted
from trainwright.engine import BaseLoop, EpochBasedTrainLoop, Hook, IterBasedTrainLoop
from trainwright.registry import LOOPS
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


@LOOPS.register_module()
class OrdersEpochsItself(EpochBasedTrainLoop):
    def run(self):
        self.runner.call_hook("before_train")
        while self._epoch < self._max_epochs:
            self.run_epoch()
            self.runner.val_loop.run()
        self.runner.call_hook("after_train")
        return self.runner.model


@LOOPS.register_module()
class OrdersItersItself(IterBasedTrainLoop):
    def run(self):
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        while self._iter < self._max_iters:
            self.run_iter(next(self.dataloader_iterator))
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model


@LOOPS.register_module()
class OwesNothing(BaseLoop):
    def __init__(self, runner, dataloader, max_epochs):
        super().__init__(runner, dataloader)
        self.epoch = self.iter = 0
        self.max_epochs, self.max_iters = max_epochs, max_epochs * len(self.dataloader)
        self.seen = []

    def run(self):
        runner = self.runner
        runner.call_hook("before_train")
        while self.epoch < self.max_epochs:
            runner.call_hook("before_train_epoch")
            for index, batch in enumerate(self.dataloader):
                runner.call_hook("before_train_iter", batch_idx=index, data_batch=batch)
                outputs = runner.model.train_step(batch, runner.optim_wrapper)
                runner.call_hook("after_train_iter", batch_idx=index, data_batch=batch, outputs=outputs)
                self.iter += 1
            runner.call_hook("after_train_epoch")
            self.epoch += 1
            self.seen.append((runner.epoch, runner.iter, runner.is_training))
            runner.val_loop.run()
        runner.call_hook("after_train")


class Watches(Hook):
    def __init__(self, fails_in=None, stops_in=None):
        self.events, self.fails_in, self.stops_in = [], fails_in, stops_in

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.stops_in:
            runner.ctx.stop.wish("a signal")

    def after_train(self, runner):
        self.events.append("after_train")

    def after_train_epoch(self, runner):
        if runner.epoch == self.fails_in:
            raise OSError("disk")

    def on_exception(self, runner, phase, error):
        self.events.append("on_exception")

    def on_train_closed(self, runner):
        self.events.append("on_train_closed")


def make(work_dir, loop, **changes):
    hooks = {"checkpoint": {"type": "CheckpointHook", "save_best": "accuracy/top1"}}
    cfg = toy_config(work_dir, train_cfg={"type": loop, "max_epochs": 2}, default_hooks=hooks)
    return Runner.from_cfg({**cfg, **changes})


@pytest.mark.parametrize("loop", ["OrdersEpochsItself", "OwesNothing"])
def test_learning_rate_counters_and_the_best_are_as_with_our_loops(tmp_path, loop):
    ours, theirs = make(tmp_path / "a", "EpochBasedTrainLoop"), make(tmp_path / "b", loop)
    ours.train()
    theirs.train()
    for name in ("train/lr", "train/loss", "train/time"):
        one, other = (runner.message_hub.get_scalar(name) for runner in (ours, theirs))
        assert len(one.data[0]) == len(other.data[0])
    for name in ("epoch", "iter", "best_score"):
        assert theirs.message_hub.get_info(name) == ours.message_hub.get_info(name)
    assert list(Path(tmp_path / "b").glob("best_*.pth"))
    assert not theirs.is_training


def test_the_runner_counts_as_the_loop_does(tmp_path):
    runner = make(tmp_path, "OwesNothing")
    runner.train()
    n_iters = len(runner.train_dataloader)
    assert runner.train_loop.seen == [(1, n_iters, True), (2, 2 * n_iters, True)]


@pytest.mark.parametrize("loop", ["EpochBasedTrainLoop", "OrdersEpochsItself", "OwesNothing"])
@pytest.mark.parametrize("fails_in", [None, 1])
def test_training_is_closed_once(tmp_path, loop, fails_in):
    runner, hook = make(tmp_path, loop), Watches(fails_in)
    runner.register_hook(hook)
    if fails_in is None:
        runner.train()
        assert hook.events == ["after_train", "on_train_closed"]
    else:
        with pytest.raises(OSError, match="disk"):
            runner.train()
        assert hook.events == ["on_exception", "on_train_closed"]
    assert runner.ctx.open_phases == []


@pytest.mark.parametrize("loop", ["OrdersEpochsItself", "OrdersItersItself", "OwesNothing"])
def test_a_signal_ends_a_run_that_looks_at_no_flag(tmp_path, loop):
    cfg = {"type": loop, **({"max_iters": 9} if loop == "OrdersItersItself" else {"max_epochs": 3})}
    runner, hook = make(tmp_path, loop, train_cfg=cfg, default_hooks={}), Watches(stops_in=1)
    runner.register_hook(hook)
    with pytest.raises(Interrupted, match="after iteration 2 and saved"):
        runner.train()
    assert runner.iter == 2
    assert hook.events == ["after_train", "on_train_closed"]
    assert (tmp_path / "iter_2.pth").is_file()


def test_before_train_fired_outside_of_a_training_opens_nothing(tmp_path):
    runner = make(tmp_path, "OwesNothing")
    runner.call_hook("before_run")
    runner.train_loop  # noqa: B018 - built by being asked for
    runner.call_hook("before_train")
    assert not runner.is_training
