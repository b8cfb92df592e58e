"""Runs with a LossGuardHook, and what they are compared with: a model that leaves the bad batch out by itself."""

import copy

import pytest
import torch
from torch import nn

from trainwright.engine import Hook
from trainwright.hooks import LossGuardHook
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.state import rng
from trainwright.testing.toys import DIM, ToyModel, differences, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 3}
ITERS = {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 5}
LOOPS = pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
NAN = float("nan")
LONG = {"type": "IterBasedTrainLoop", "max_iters": 60, "val_interval": 20}
SAVER = {"checkpoint": {"type": "CheckpointHook", "interval": 10, "by_epoch": False}}


@MODELS.register_module()
class GuardedNet(ToyModel):
    """With batch norm and dropout. `leaves_out`: iterations whose batch it does not look at, in a run of its own."""

    def __init__(self, leaves_out=(), **kwargs) -> None:
        super().__init__(dropout=0.3, **kwargs)
        self.norm = nn.BatchNorm1d(DIM)
        self.leaves_out = set(leaves_out)
        self.n_steps = 0
        self.scale_loss = {}

    def forward(self, inputs, label=None, mode="tensor"):
        found = super().forward(self.norm(inputs), label, mode)
        if mode == "loss" and self.n_steps - 1 in self.scale_loss:
            found["loss"] = found["loss"] * self.scale_loss[self.n_steps - 1]
        return found

    def train_step(self, data, optim_wrapper):
        self.n_steps += 1
        if self.n_steps - 1 not in self.leaves_out:
            return super().train_step(data, optim_wrapper)
        optim_wrapper._inner_count += 1
        parameters = [p for group in optim_wrapper.optimizer.param_groups for p in group["params"]]
        if optim_wrapper.should_update() and any(p.grad is not None for p in parameters):
            optim_wrapper.step()
            optim_wrapper.zero_grad()
        return {}


class Poison(Hook):
    """Spoils chosen iterations: the batch, the gradient of one parameter, or with a finite factor the loss alone."""

    priority = "VERY_HIGH"

    def __init__(self, *at, gradient=False, factor=NAN) -> None:
        self.at, self.gradient, self.factor = set(at), gradient, factor
        self.handle = None

    def before_train(self, runner):
        def spoil(grad):
            return grad * self.factor if runner.iter in self.at else grad

        if self.gradient and self.handle is None:
            self.handle = runner.model.second.weight.register_hook(spoil)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model = runner.model
        model.n_steps = runner.iter
        if not self.gradient and self.factor == self.factor:
            model.scale_loss = dict.fromkeys(self.at, self.factor)
        elif runner.iter in self.at and not self.gradient:
            data_batch["inputs"] = data_batch["inputs"] * self.factor


class StopAfter(Hook):
    """Interrupts after so many iterations."""

    def __init__(self, n_iters) -> None:
        self.n_iters = n_iters

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.n_iters:
            runner.ctx.stop.request("enough", interrupts=True)


def make(work_dir, *hooks, guard=None, log=3, leaves_out=(), **changes):
    hooks = [*hooks, *([] if guard is None else [{"type": "LossGuardHook", **guard}])]
    defaults = {"logger": {"type": "LoggerHook", "interval": log}, **changes.pop("default_hooks", {})}
    config = {
        "model": {"type": "GuardedNet", "leaves_out": list(leaves_out)},
        "train_dataloader": toy_loader(16, 4, noise=0.3),
        "custom_hooks": hooks,
        "default_hooks": defaults,
        "train_cfg": EPOCHS,
        **changes,
    }
    return Runner.from_cfg(toy_config(work_dir, **config))


def state(runner):
    tree = {**runner.strategy.state_tree(), "rng": rng.capture(), "clock": runner.ctx.clock.state_dict()}
    for hook in runner.hooks:
        if hasattr(hook, "ema_model"):
            tree["ema"] = hook.ema_model.state_dict()
    loader = runner.train_dataloader
    if hasattr(loader, "state_dict"):
        tree["loader"] = loader.state_dict()
    return tree


def trained(work_dir, *hooks, **changes):
    """The runner and its state, random streams as they are left."""
    runner = make(work_dir, *hooks, **changes)
    runner.train()
    return runner, copy.deepcopy(state(runner))


def guard_of(runner) -> LossGuardHook:
    return next(hook for hook in runner.hooks if isinstance(hook, LossGuardHook))


def assert_skips(tmp_path, at, poison, hooks=(), policy="skip", guard=None, left_out=None, **changes):
    """A guarded run with these bad steps ends as the run of a model that leaves them out."""
    left_out = at if left_out is None else left_out
    expected = trained(tmp_path / "reference", *hooks, leaves_out=left_out, **changes)[1]
    settings = {"policy": policy, **(guard or {})}
    runner, found = trained(tmp_path / "guarded", *copy.deepcopy(list(hooks)), poison, guard=settings, **changes)
    assert not differences(expected, found)
    assert guard_of(runner).skipped == set(left_out)
    assert [event["iteration"] for event in guard_of(runner).events] == list(at)
    scalars = runner.message_hub.log_scalars
    n_iters = runner.iter
    for name in ("lr", "time", "data_time"):
        assert len(scalars[f"train/{name}"]) == n_iters
    n_skipped = sum(k < n_iters for k in left_out)
    assert len(scalars["train/loss"]) == n_iters - n_skipped
    assert torch.isfinite(torch.tensor(scalars["train/loss"].data[0])).all()
    assert not [name for name in scalars if name.startswith("guard")]
    return runner
