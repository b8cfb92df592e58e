"""The learning-rate test: what it finds, and that it leaves nothing changed."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from trainwright.base.errors import ConfigError
from trainwright.config import Config
from trainwright.data import default_collate
from trainwright.engine import Hook
from trainwright.registry import DATASETS, MODELS
from trainwright.runner import Runner, find_lr
from trainwright.runner.lr_finder import evaluated
from trainwright.state import MessageHub, rng
from trainwright.testing.toys import ToyDataset, ToyModel, differences, toy_config, toy_loader


@pytest.fixture
def counting(monkeypatch):
    """Parts with a state that no state_dict has: a model that counts its calls, a dataset with a generator."""

    class CountingModel(ToyModel):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.n_calls = 0
            self.mean = nn.BatchNorm1d(6)

        def forward(self, inputs, label=None, mode="tensor"):
            self.n_calls += 1
            MessageHub.get_current_instance().update_scalar("train/calls", self.n_calls)
            return super().forward(self.mean(inputs), label, mode)

    class RandomPoints(ToyDataset):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.generator = np.random.default_rng(0)

        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return {**sample, "inputs": sample["inputs"] + float(self.generator.random())}

    monkeypatch.setitem(MODELS.module_dict, "CountingModel", CountingModel)
    monkeypatch.setitem(DATASETS.module_dict, "RandomPoints", RandomPoints)


def config(work_dir, **changes):
    loader = toy_loader(noise=0.2)
    loader["dataset"]["type"] = "RandomPoints"
    schedule = [{"type": "LinearLR", "end": 3, "by_epoch": False}, {"type": "CosineAnnealingLR", "T_max": 2}]
    given = {
        "model": {"type": "CountingModel", "dropout": 0.3},
        "train_dataloader": loader,
        "param_scheduler": schedule,
    }
    return toy_config(work_dir, **{**given, **changes})


def files(folder):
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            found[path] = (os.stat(path).st_mtime_ns, Path(path).read_bytes())
    return found


VARIANTS = {
    "plain": {},
    "streams of the workers": {"randomness": {"seed": 1, "keyed": False}},
    "accumulation": {
        "optim_wrapper": {
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "accumulative_counts": 3,
            "clip_grad": {"max_norm": 1.0},
        }
    },
    "mixed precision": {
        "optim_wrapper": {
            "type": "AmpOptimWrapper",
            "dtype": "bfloat16",
            "loss_scale": "dynamic",
            "optimizer": {"type": "SGD", "lr": 0.1},
        }
    },
    "iterations, an endless sampler": {
        "train_cfg": {"by_epoch": False, "max_iters": 10, "val_interval": 5},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": 10}},
        "param_scheduler": None,
        "train_dataloader": {**toy_loader(noise=0.2), "sampler": {"type": "InfiniteSampler"}},
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_after_it_is_the_one_without_it(variant, counting, tmp_path):
    changes = VARIANTS[variant]
    Runner.from_cfg(config(tmp_path / "plain", **changes)).train()
    runner = Runner.from_cfg(config(tmp_path / "tested", **changes))
    written, weights = files(tmp_path / "tested"), runner.model.state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    found = find_lr(runner, 1e-4, 1.0, 20)
    assert len(found.rates) >= 10
    assert files(tmp_path / "tested") == written
    assert differences(before, runner.model.state_dict()) == []
    assert (runner.model.n_calls, runner.iter, runner.message_hub.log_scalars) == (0, 0, {})
    runner.train()
    last = "iter_10.pth" if "max_iters" in changes.get("train_cfg", {}) else "epoch_2.pth"
    one, other = (torch.load(tmp_path / name / last, weights_only=True) for name in ("plain", "tested"))
    for key in ("state_dict", "optimizer", "param_schedulers", "rng", "loader"):
        assert differences(one.get(key), other.get(key)) == [], key


EXAMPLES = {
    "digits/cnn.py": {"train_cfg.max_epochs": 1, "model.width": 8},
    "text/gpt_bytes.py": {
        **{"train_cfg.max_iters": 6, "model.width": 16, "model.n_layers": 1, "default_hooks.checkpoint.interval": 6},
        **{"model.block": 32, "train_dataloader.dataset.block": 32},
    },
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_training_of_the_examples_after_it_is_the_one_without_it(name, tmp_path):
    trees = {}
    for part in ("plain", "tested"):
        cfg = Config.fromfile(str(Path(__file__).resolve().parents[2] / "configs" / name))
        small = {"work_dir": str(tmp_path / part), "log_level": "WARNING", **EXAMPLES[name]}
        cfg.merge_from_dict({**small, "val_cfg": None, "val_dataloader": None, "val_evaluator": None})
        cfg.default_hooks["checkpoint"].pop("save_best")
        runner = Runner.from_cfg(cfg)
        if part == "tested":
            assert find_lr(runner, 1e-6, 1.0, 10).rates
        runner.train()
        (path,) = (tmp_path / part).glob("*.pth")
        trees[part] = torch.load(path, weights_only=True)
    for key in ("state_dict", "optimizer", "param_schedulers", "rng", "loader"):
        assert differences(trees["plain"][key], trees["tested"][key]) == [], key


def test_with_workers(tmp_path):
    def train(name, test):
        loader = toy_loader(noise=0.2, num_workers=1, persistent_workers=True)
        runner = Runner.from_cfg(toy_config(tmp_path / name, train_dataloader=loader))
        if test:
            find_lr(runner, 1e-4, 1.0, 10)
        runner.train()
        runner.train_dataloader.close()
        return runner.model.state_dict()

    assert differences(train("plain", False), train("tested", True)) == []


def test_between_two_trainings(counting, tmp_path):
    def second(test):
        runner = Runner.from_cfg(config(tmp_path / str(test), train_cfg={"by_epoch": True, "max_epochs": 1}))
        runner.train()
        streams = rng.capture()
        weights = {name: value.clone() for name, value in runner.model.state_dict().items()}
        if test:
            find_lr(runner, 1e-4, 1.0, 12)
            assert differences(streams, rng.capture()) == []
            assert differences(weights, runner.model.state_dict()) == []
        runner.ctx.clock.max_epochs, runner.ctx.clock.max_iters = 2, 8
        runner.train()
        return runner.model.state_dict()

    assert differences(second(False), second(True)) == []


def test_a_loader_that_was_built_by_the_user(tmp_path):
    def train(name, test):
        generator = torch.Generator().manual_seed(3)
        loader = DataLoader(ToyDataset(noise=0.1), 4, shuffle=True, generator=generator, collate_fn=default_collate)
        runner = Runner.from_cfg(toy_config(tmp_path / name, train_dataloader=loader))
        if test:
            find_lr(runner, 1e-4, 1.0, 10)
        runner.train()
        return runner.model.state_dict()

    assert differences(train("plain", False), train("tested", True)) == []


def test_it_starts_from_the_weights_that_training_would_start_from(tmp_path):
    Runner.from_cfg(toy_config(tmp_path / "first")).train()
    path = str(tmp_path / "first" / "epoch_2.pth")
    fresh = find_lr(Runner.from_cfg(toy_config(tmp_path / "fresh")), 1e-9, 1e-8, 10)
    for name, changes in (("loaded", {"load_from": path}), ("resumed", {"resume": path}), ("latest", {"resume": True})):
        runner = Runner.from_cfg(toy_config(tmp_path / ("first" if name == "latest" else name), **changes))
        found = find_lr(runner, 1e-9, 1e-8, 10)
        assert max(found.losses) < min(fresh.losses), name
        assert (runner._has_loaded, runner.iter) == (False, 0)


def test_groups_keep_the_ratios_of_their_rates(tmp_path, monkeypatch):
    seen = []
    train_step = ToyModel.train_step

    def watched(self, data, optim_wrapper):
        seen.append([group["lr"] for group in optim_wrapper.optimizer.param_groups])
        return train_step(self, data, optim_wrapper)

    monkeypatch.setattr(ToyModel, "train_step", watched)
    optim_wrapper = {
        "optimizer": {"type": "SGD", "lr": 0.1},
        "paramwise_cfg": {"custom_keys": {"second": {"lr_mult": 10}}},
    }
    schedule = {"type": "LinearLR", "start_factor": 0.01, "end": 2}
    runner = Runner.from_cfg(toy_config(tmp_path, optim_wrapper=optim_wrapper, param_scheduler=schedule))
    find_lr(runner, 1e-4, 1e-2, 11)
    assert seen[0] == pytest.approx([1e-4] * 2 + [1e-3] * 2)
    assert seen[10] == pytest.approx([1e-2] * 2 + [1e-1] * 2)
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([1e-3] * 2 + [1e-2] * 2)


def test_no_hook_is_called(tmp_path):
    class Loud(Hook):
        def before_run(self, runner):
            raise AssertionError("a hook was called")

        before_train_iter = after_train_iter = before_run

    assert find_lr(Runner.from_cfg(toy_config(tmp_path, custom_hooks=[Loud()])), iters=10).rates


def test_it_stops_when_the_loss_runs_away(tmp_path):
    found = find_lr(Runner.from_cfg(toy_config(tmp_path)), 1e-3, 1e6, 60)
    assert found.ran_away
    assert len(found.losses) < 60
    assert all(math.isfinite(loss) for loss in found.losses)
    assert 1e-3 < found.suggestion < 1e3


def curve(loss, n_points=100):
    rates = np.geomspace(1e-6, 1.0, n_points).tolist()
    return evaluated(rates, [loss(math.log10(rate)) for rate in rates])


def test_the_steepest_fall_and_a_tenth_of_the_lowest():
    found = curve(lambda x: 2 - math.tanh((x + 3) * 2) + 5 * max(0.0, x + 1.5) ** 2)
    assert found.steepest == pytest.approx(1e-3, rel=0.2)
    assert found.tenth == found.rates[found.smoothed.index(min(found.smoothed))] / 10
    assert found.suggestion == found.steepest


def test_a_loss_that_never_falls_has_no_suggestion():
    found = curve(lambda x: 1 + 0.1 * (x + 6))
    assert (found.suggestion, found.tenth, found.ran_away) == (None, None, False)


def test_losses_at_the_end_that_are_not_finite_are_left_out():
    found = curve(lambda x: math.nan if x > -1 else -x)
    assert max(found.rates) < 0.11
    assert found.ran_away


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 0}, "start and end must be rates above 0, start the lower, got start=0 and end=10.0"),
        ({"start": 1, "end": 0.1}, "start the lower, got start=1 and end=0.1"),
        ({"iters": 5}, "iters must be a whole number of at least 10, got 5"),
        ({"stop_factor": 1}, "stop_factor must be above 1, got 1"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        find_lr(Runner.from_cfg(toy_config(tmp_path)), **arguments)


def test_what_cannot_be_tested(tmp_path, monkeypatch):
    evaluation = {"train_dataloader": None, "train_cfg": None, "optim_wrapper": None}
    with pytest.raises(ConfigError, match=r"find_lr\(\) needs train_dataloader, train_cfg and optim_wrapper"):
        find_lr(Runner.from_cfg(toy_config(tmp_path, **evaluation)))
    runner = Runner.from_cfg(toy_config(tmp_path))
    runner.model.lock = open(os.devnull)  # noqa: SIM115 - closed below
    with pytest.raises(
        ConfigError, match=r"tries rates out on a copy, and model and optimizer cannot be copied \(copy"
    ):
        find_lr(runner)
    runner.model.lock.close()
    with pytest.raises(ConfigError, match="the loss is not finite after 0 steps, so there is no curve"):
        evaluated([0.1], [math.nan])
    monkeypatch.setattr(ToyModel, "train_step", lambda self, data, optim_wrapper: {"total": 1})
    with pytest.raises(ConfigError, match="of ToyModel must return a dict with the total as 'loss', got {'total': 1}"):
        find_lr(Runner.from_cfg(toy_config(tmp_path)))


def test_several_optimizers_are_refused(tmp_path):
    runner = Runner.from_cfg(toy_config(tmp_path))
    halves = [runner.build_optim_wrapper({"optimizer": {"type": "SGD", "lr": 0.1}}) for _ in range(2)]
    runner = Runner.from_cfg(toy_config(tmp_path, optim_wrapper=dict(zip("ab", halves, strict=True))))
    with pytest.raises(ConfigError, match=r"raises the rate of one optimizer, and this config has several \(a, b\)"):
        find_lr(runner)
