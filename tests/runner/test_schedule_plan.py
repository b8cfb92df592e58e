"""The values of a plan are those of the training."""

import random

import pytest
import torch

from trainwright.base.errors import ConfigError
from trainwright.config import Config
from trainwright.engine import Hook
from trainwright.optim import build_optim_wrapper
from trainwright.registry import DATASETS, MODELS
from trainwright.runner import Runner, plan_schedules
from trainwright.testing.toys import ToyDataset, ToyModel, toy_config, toy_loader

EPOCHS = {"by_epoch": True, "max_epochs": 5}
WARM_UP = {"type": "LinearLR", "start_factor": 0.1, "end": 6, "by_epoch": False}
COSINE = {"type": "CosineAnnealingLR", "begin": 2, "T_max": 3, "convert_to_iter_based": True}


def plan(epoch_length=None, **changes):
    return plan_schedules(Config(toy_config("nowhere", **{"train_cfg": EPOCHS, **changes})), epoch_length)


class Watch(Hook):
    priority = "VERY_HIGH"

    def __init__(self):
        self.rates, self.momenta = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        wrapper = runner.optim_wrapper
        self.rates.append(wrapper.get_lr()["lr"])
        self.momenta.append(wrapper.get_momentum()["momentum"])


PARAMWISE = {
    "optimizer": {"type": "AdamW", "lr": 0.1},
    "paramwise_cfg": {"custom_keys": {"second": {"lr_mult": 10}}},
}
RUNS = {
    "by iteration": {"param_scheduler": [WARM_UP, COSINE]},
    "by epoch, and groups": {
        "param_scheduler": [WARM_UP, {"type": "MultiStepLR", "milestones": [1, 3]}],
        "optim_wrapper": PARAMWISE,
    },
    "momentum": {
        "param_scheduler": [
            {"type": "OneCycleLR", "eta_max": 0.5, "convert_to_iter_based": True},
            {"type": "OneCycleMomentum", "convert_to_iter_based": True},
        ],
        "optim_wrapper": PARAMWISE,
    },
    "a cycle for each group": {
        "param_scheduler": {
            "type": "OneCycleLR",
            "eta_max": [0.1, 0.2, 0.3, 0.4],
            "by_epoch": False,
            "total_steps": 20,
        },
        "optim_wrapper": PARAMWISE,
    },
    "iterations": {
        "train_cfg": {"by_epoch": False, "max_iters": 12, "val_interval": 50},
        "param_scheduler": [WARM_UP, {"type": "PolyLR", "by_epoch": False, "begin": 6}],
    },
    "scaled": {"param_scheduler": WARM_UP, "auto_scale_lr": {"base_batch_size": 8, "enable": True}},
    "none": {"optim_wrapper": PARAMWISE},
}


@pytest.mark.parametrize("name", RUNS)
def test_the_values_of_the_training(name, tmp_path):
    watch = Watch()
    Runner.from_cfg(toy_config(tmp_path, custom_hooks=[watch], **{"train_cfg": EPOCHS, **RUNS[name]})).train()
    found = plan(4 if name == "none" else None, **RUNS[name])
    n_steps = len(watch.rates)
    assert (found.n_steps, found.unit) == (n_steps, "iteration")
    for curve in found.curves:
        trained = watch.rates if curve.name == "lr" else watch.momenta
        for group in curve.groups:
            assert curve.values == pytest.approx([values[group] for values in trained], rel=1e-14)
    n_groups = len(watch.rates[0])
    grouped = [group for curve in found.curves if curve.name == "lr" for group in curve.groups]
    assert sorted(grouped) == list(range(n_groups))


def test_groups_that_begin_alike_are_one_curve():
    found = plan(4, **RUNS["by epoch, and groups"])
    assert [(curve.groups, curve.n_parameters) for curve in found.curves] == [([0, 1], 56), ([2, 3], 27)]
    (alone,) = plan(4, param_scheduler=WARM_UP).curves
    assert (alone.label, alone.groups) == ("lr", [0])


def test_what_counts_epochs_alone_is_shown_in_epochs():
    found = plan(param_scheduler={"type": "StepLR", "step_size": 2, "gamma": 0.5})
    assert (found.unit, found.n_steps) == ("epoch", 5)
    assert found.curves[0].values == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


def test_no_data_and_no_weights_and_the_same_random_streams(monkeypatch):
    class NoData(ToyDataset):
        def __init__(self, **kwargs):
            raise AssertionError("a dataset was built")

    built = []

    class Watched(ToyModel):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            built.append(self.first.weight.device.type)

    monkeypatch.setitem(DATASETS.module_dict, "ToyDataset", NoData)
    monkeypatch.setitem(MODELS.module_dict, "ToyModel", Watched)
    state, drawn = torch.get_rng_state(), random.getstate()
    assert plan(4, **RUNS["by epoch, and groups"]).n_steps == 20
    assert plan(train_dataloader={**toy_loader(), "num_batch_per_epoch": 3}, **RUNS["by iteration"]).epoch_length == 3
    assert built == ["meta"]
    assert torch.equal(state, torch.get_rng_state())
    assert random.getstate() == drawn
    with pytest.raises(
        ConfigError, match=r"the length of train_dataloader cannot be told: a dataset was built.* Say it"
    ):
        plan(**RUNS["by iteration"])


def test_a_model_that_needs_its_weights_while_it_is_made(monkeypatch):
    class Measuring(ToyModel):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.size = float(self.first.weight.sum())

    monkeypatch.setitem(MODELS.module_dict, "ToyModel", Measuring)
    assert len(plan(4, **RUNS["by epoch, and groups"]).curves) == 2


def test_several_optimizers():
    model = MODELS.build({"type": "ToyModel"})
    halves = {
        name: build_optim_wrapper(model, {"optimizer": {"type": "SGD", "lr": rate}})
        for name, rate in (("a", 0.1), ("b", 0.2))
    }
    schedulers = {"a": [{"type": "StepLR", "step_size": 1}], "b": [{"type": "ConstantLR", "factor": 0.5}]}
    cfg = toy_config("nowhere", train_cfg=EPOCHS, optim_wrapper=halves, param_scheduler=schedulers)
    found = plan_schedules(cfg)
    assert [(curve.label, curve.values[0]) for curve in found.curves] == [("a.lr", 0.1), ("b.lr", 0.1)]
    assert [group["lr"] for half in halves.values() for group in half.param_groups] == [0.1, 0.2]
    cfg = toy_config("nowhere", train_cfg=EPOCHS, optim_wrapper=halves, param_scheduler={"a": [], "bb": []})
    with pytest.raises(ConfigError, match="param_scheduler has an entry 'bb', but the optim wrappers are a, b. Did"):
        plan_schedules(cfg)


def test_a_plateau_is_noted():
    found = plan(param_scheduler={"type": "ReduceOnPlateauLR", "monitor": "accuracy/top1", "rule": "greater"})
    assert found.curves[0].values == [0.1] * 5
    assert "ReduceOnPlateauLR follows a metric: drawn as if it never reduced the value" in found.notes


def test_what_cannot_be_planned():
    no_training = {"train_dataloader": None, "train_cfg": None, "optim_wrapper": None}
    with pytest.raises(ConfigError, match="the config has no optim_wrapper, so there is nothing that is scheduled"):
        plan(**no_training)
    with pytest.raises(ConfigError, match="T_max must be a number of steps above 0, got 0"):
        plan(param_scheduler={"type": "CosineAnnealingLR", "T_max": 0})
    endless = {**toy_loader(), "sampler": {"type": "InfiniteSampler"}, "batch_sampler": None}
    with pytest.raises(ConfigError, match=r"train_dataloader.* Say it with --epoch-length N"):
        plan(train_dataloader={**endless, "dataset": {"type": "ToyDataset", "size": -3}}, param_scheduler=WARM_UP)
