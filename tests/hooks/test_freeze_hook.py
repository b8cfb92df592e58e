"""FreezeHook in whole runs: what moves and when, beside plain torch, with averages, norms and resumes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainwright.base.errors import ConfigError, ConfigTypeError, Interrupted
from trainwright.engine import Event, Hook
from trainwright.hooks import EMAHook, FreezeHook
from trainwright.registry import MODELS
from trainwright.runner import Runner
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyModel, differences, toy_config, toy_loader

ITERS = {"type": "IterBasedTrainLoop", "max_iters": 12, "val_interval": 3}
EPOCHS = {"by_epoch": True, "max_epochs": 3}


class TwoNorms(ToyModel):
    """A norm in front, and one behind the first layer. `held`: the model keeps its first norm in evaluation itself."""

    def __init__(self, held: bool = False, **kwargs) -> None:
        super().__init__(**kwargs)
        self.norm, self.inner, self.held = nn.BatchNorm1d(6), nn.Sequential(nn.BatchNorm1d(6, affine=False)), held

    def train(self, mode=True):
        super().train(mode)
        if self.held:
            self.norm.eval()
        return self

    def forward(self, inputs, label=None, mode="tensor"):
        return super().forward(self.inner(self.norm(inputs)), label, mode)


@pytest.fixture(autouse=True)
def registered():
    MODELS.register_module(name="TwoNormsForTest", module=TwoNorms)
    yield
    MODELS._module_dict.pop("TwoNormsForTest", None)


class Watch(Hook):
    """Which parameters and buffers changed in each iteration."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.changed, self.before, self.training = [], {}, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = {k: v.clone() for k, v in runner.model.state_dict().items()}
        self.training.append(sorted(n for n, m in runner.model.named_modules() if m.training and "norm" in n))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        now = runner.model.state_dict()
        self.changed.append({name for name, old in self.before.items() if not torch.equal(old, now[name])})


def make(work_dir, *hooks, **changes) -> Runner:
    base = {
        "model": {"type": "TwoNormsForTest"},
        "train_dataloader": toy_loader(16, 4, noise=0.2),
        "train_cfg": EPOCHS,
        "optim_wrapper": {"optimizer": {"type": "AdamW", "lr": 0.02, "weight_decay": 0.1}},
    }
    return Runner.from_cfg(toy_config(work_dir, **{**base, "custom_hooks": list(hooks), **changes}))


def when(watch, name):
    return [n for n, changed in enumerate(watch.changed) if name in changed]


@pytest.mark.parametrize(
    ("settings", "train_cfg", "trained"),
    [
        ({}, EPOCHS, []),
        ({"end": 1}, EPOCHS, range(4, 12)),
        ({"begin": 1, "end": 2}, EPOCHS, [0, 1, 2, 3, 8, 9, 10, 11]),
        ({"begin": 1}, EPOCHS, range(4)),
        ({"begin": 2, "end": 7, "by_epoch": False}, EPOCHS, [0, 1, 7, 8, 9, 10, 11]),
        ({"end": 5, "by_epoch": False}, ITERS, range(5, 12)),
        ({"begin": 3, "end": 4, "by_epoch": False}, ITERS, [*range(3), *range(4, 12)]),
        ({}, ITERS, []),
        ({"begin": 50}, EPOCHS, range(12)),
    ],
)
def test_what_is_trained_when(tmp_path, settings, train_cfg, trained):
    watch = Watch()
    make(tmp_path, {"type": "FreezeHook", "modules": ["first", "norm"], **settings}, watch, train_cfg=train_cfg).train()
    for name in ("first.weight", "first.bias", "norm.weight", "norm.running_mean"):
        assert when(watch, name) == list(trained), name
    for name in ("second.weight", "inner.0.running_mean"):
        assert when(watch, name) == list(range(12))


def test_the_same_as_plain_torch(tmp_path):
    """Frozen in iterations 4 to 7: no weight decay, no momentum, and Adam's state goes on from where it was."""
    batches = []

    class Batches(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if not batches:
                self.start = {k: v.clone() for k, v in runner.model.state_dict().items()}
            batches.append({k: v.clone() for k, v in data_batch.items()})

    keep = Batches()
    runner = make(tmp_path, keep, {"type": "FreezeHook", "modules": "first", "begin": 1, "end": 2})
    runner.train()
    model = TwoNorms()
    model.load_state_dict(keep.start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.1)
    for n, batch in enumerate(batches):
        model.first.requires_grad_(not 4 <= n < 8)
        F.cross_entropy(model(batch["inputs"]), batch["label"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not differences(runner.model.state_dict(), model.state_dict())


def test_patterns(tmp_path):
    watch = Watch()
    make(tmp_path, {"type": "FreezeHook", "modules": ["*.bias", "sec*"]}, watch).train()
    assert set.union(*watch.changed) >= {"first.weight", "norm.weight"}
    assert not set.union(*watch.changed) & {"first.bias", "second.weight", "second.bias", "norm.bias"}


def test_norms_that_go_on_measuring(tmp_path):
    watch = Watch()
    make(tmp_path, {"type": "FreezeHook", "modules": "norm", "norm_eval": False}, watch).train()
    assert when(watch, "norm.running_mean") == list(range(12))
    assert not when(watch, "norm.weight")


def test_norms_without_weights_and_norms_of_the_models_own(tmp_path):
    """A norm that the model holds is not set into training when the hook lets go of it, in the middle of an epoch."""
    watch = Watch()
    hook = {"type": "FreezeHook", "modules": "*norm*", "end": 6, "by_epoch": False}
    both = [{**hook, "modules": ["norm", "inner", "first"]}]
    make(tmp_path, *both, watch, model={"type": "TwoNormsForTest", "held": True}).train()
    assert not any(watch.training)
    assert when(watch, "inner.0.running_mean") == list(range(6, 12))
    assert when(watch, "norm.weight") == list(range(6, 12))


@pytest.mark.parametrize("swapped", [False, True])
def test_several_hooks_thaw_one_part_after_the_other(tmp_path, swapped):
    """Gradual unfreezing; where two hold the same part the later end counts."""
    watch = Watch()
    hooks = [
        {"type": "FreezeHook", "modules": ["first", "norm"], "end": 8, "by_epoch": False},
        {"type": "FreezeHook", "modules": ["norm", "inner"], "end": 1},
        {"type": "FreezeHook", "modules": "norm", "begin": 2, "end": 6, "by_epoch": False},
    ]
    make(tmp_path, *(reversed(hooks) if swapped else hooks), watch).train()
    assert when(watch, "first.weight") == when(watch, "norm.weight") == list(range(8, 12))
    assert when(watch, "norm.running_mean") == list(range(8, 12))
    assert when(watch, "inner.0.running_mean") == list(range(4, 12))


def test_what_was_frozen_before_stays_frozen(tmp_path):
    watch = Watch()
    wrapper = {
        "optimizer": {"type": "SGD", "lr": 0.1},
        "paramwise_cfg": {"custom_keys": {"first.bias": {"requires_grad": False}}},
    }
    make(tmp_path, {"type": "FreezeHook", "modules": "first", "end": 1}, watch, optim_wrapper=wrapper).train()
    assert when(watch, "first.weight") == list(range(4, 12))
    assert not when(watch, "first.bias")


def test_gradients_that_wait_in_an_accumulation_window_are_dropped(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4}
    watch = Watch()
    hook = {"type": "FreezeHook", "modules": "first", "begin": 6, "by_epoch": False}
    make(tmp_path, hook, watch, optim_wrapper=wrapper).train()
    assert when(watch, "first.weight") == [3]
    assert when(watch, "second.weight") == [3, 7, 11]


@pytest.mark.parametrize("train_cfg", [EPOCHS, ITERS], ids=["epochs", "iters"])
@pytest.mark.parametrize("at", [2, 4, 5, 8])
def test_a_run_in_parts_with_an_average_is_the_run_in_one_piece(tmp_path, train_cfg, at):
    hooks = [
        {"type": "EMAHook", "momentum": 0.1, "update_buffers": True},
        {"type": "FreezeHook", "modules": ["first", "norm"], "begin": 2, "end": 7, "by_epoch": False},
        {"type": "FreezeHook", "modules": "inner", "end": 1},
    ]
    whole = make(tmp_path / "whole", *hooks, train_cfg=train_cfg)
    whole.train()
    with pytest.raises(Interrupted):
        make(tmp_path / "parts", *hooks, StopAt(Event.AFTER_TRAIN_ITER, at), train_cfg=train_cfg).train()
    watch = Watch()
    last = make(tmp_path / "parts", *hooks, watch, train_cfg=train_cfg, resume=True)
    last.train()
    assert [n + at for n in when(watch, "first.weight")] == [n for n in (0, 1, 7, 8, 9, 10, 11) if n >= at]
    assert not differences(last.strategy.state_tree(), whole.strategy.state_tree())
    averages = [next(h for h in r.hooks if isinstance(h, EMAHook)).ema_model.state_dict() for r in (last, whole)]
    assert not differences(*averages)


def test_the_average_of_what_is_frozen_from_the_beginning_is_itself(tmp_path):
    runner = make(tmp_path, {"type": "EMAHook", "momentum": 0.1}, {"type": "FreezeHook", "modules": "first"})
    start = {}

    class Start(Hook):
        def before_train_epoch(self, runner):
            start.setdefault("first", runner.model.first.weight.clone())

    runner.register_hook(Start())
    runner.train()
    average = next(h for h in runner.hooks if isinstance(h, EMAHook)).ema_model.module
    assert torch.equal(average.first.weight, start["first"])
    assert torch.equal(runner.model.first.weight, start["first"])
    assert not torch.equal(average.second.weight, runner.model.second.weight)


def test_a_pattern_that_fits_nothing(tmp_path):
    runner = make(tmp_path, {"type": "FreezeHook", "modules": "frist"})
    with pytest.raises(ConfigError, match=r"pattern 'frist', and TwoNorms has no parameter.*Did you mean 'first"):
        runner.train()


def test_nothing_left_to_train(tmp_path):
    hooks = [
        {"type": "FreezeHook", "modules": ["first", "norm"]},
        {"type": "FreezeHook", "modules": "second", "begin": 1},
    ]
    runner = make(tmp_path, *hooks)
    with pytest.raises(ConfigError, match=r"modules=\['second'\] leaves nothing of TwoNorms to train at iteration 4"):
        runner.train()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"modules": []}, ConfigTypeError, "FreezeHook modules must be a pattern on names of modules"),
        ({"modules": [1]}, ConfigTypeError, "or a list of them, for instance"),
        ({"begin": -1}, ConfigError, "FreezeHook begin must be at least 0, but got -1"),
        ({"begin": 2, "end": 2}, ConfigError, "end=2 must be larger than begin=2: nothing would be frozen"),
        ({"end": 1.5}, ConfigTypeError, "FreezeHook end must be a whole number, but got 1.5"),
    ],
)
def test_settings(settings, error, text):
    with pytest.raises(error, match=text):
        FreezeHook(**{"modules": "first", **settings})
