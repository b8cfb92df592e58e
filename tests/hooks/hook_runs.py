"""Runs with some hooks of many, in one piece or in parts, and what is compared of them bit for bit: all that a
checkpoint would hold, and the files that are kept."""

import os
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainwright.base.errors import Interrupted
from trainwright.data import KeyedDataLoader
from trainwright.evaluation import BaseMetric
from trainwright.hooks import CheckpointHook, EMAHook
from trainwright.registry import METRICS, MODELS
from trainwright.runner import Runner
from trainwright.state import MessageHub, rng
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

N_EPOCHS, N_BATCHES = 4, 4
LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": N_EPOCHS},
    "iters": {"by_epoch": False, "max_iters": N_EPOCHS * N_BATCHES, "val_interval": N_BATCHES},
}
# Of tests with many cases, which would take long on both.
half_of_loops = pytest.mark.parametrize("loop", ["epochs", pytest.param("iters", marks=pytest.mark.conformance)])
SGD = {"type": "SGD", "lr": 0.1, "momentum": 0.9}
# What differs between two equal runs: times, memory, and which text the config was.
CHANGING = ("time", "_per_s", "mfu", "memory", "elapsed", "experiment_name", "log_dirs", "cfg", "eta")


@MODELS.register_module()
class ToyWithNorm(ToyModel):
    """With buffers that training changes, and dropout."""

    def __init__(self, dropout=0.2, **kwargs) -> None:
        super().__init__(dropout=dropout, **kwargs)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, inputs, label=None, mode="tensor"):
        return super().forward(self.norm(inputs), label, mode)


@METRICS.register_module()
class CrossEntropyOfScores(BaseMetric):
    """``ce``: a number that tells any two sets of weights apart."""

    default_prefix = "real"

    def process(self, data_batch, data_samples):
        self.results += [(sample["scores"].double(), sample["label"]) for sample in data_samples]

    def compute_metrics(self, results):
        scores, labels = (torch.cat(parts) for parts in zip(*results, strict=True))
        return {"ce": F.cross_entropy(scores, labels).item()}


@METRICS.register_module()
class ScriptedByHistory(BaseMetric):
    """``acc``: the value of `script` for the validation that runs, also in a part of a run that was taken up."""

    default_prefix = "scripted"

    def __init__(self, script) -> None:
        super().__init__()
        self.script = script

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        hub = MessageHub.get_current_instance()
        hub.metrics.flush()
        earlier = hub.log_scalars.get("val/scripted/acc")
        return {"acc": self.script[0 if earlier is None else len(earlier.data[0])]}


def config(folder, loop, *hooks, script=(1.0, 2.0, 3.0, 2.5), checkpoint=None, **changes):
    """Four epochs of four iterations, or sixteen iterations, with a validation after each fourth."""
    by_epoch = loop == "epochs"
    saving = {"type": "CheckpointHook", "by_epoch": by_epoch, "interval": 1 if by_epoch else N_BATCHES}
    base = {
        "model": {"type": "ToyWithNorm"},
        "train_dataloader": toy_loader(16, 4, noise=0.2),
        "train_cfg": LOOPS[loop],
        "optim_wrapper": {"optimizer": SGD},
        "val_evaluator": [{"type": "CrossEntropyOfScores"}, {"type": "ScriptedByHistory", "script": list(script)}],
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 2},
            "checkpoint": {**saving, "max_keep_ckpts": 2, **(checkpoint or {})},
        },
        "custom_hooks": [dict(hook) if isinstance(hook, dict) else hook for hook in hooks],
    }
    return toy_config(folder, **{**base, **changes})


def train(cfg, **changes):
    """A whole run, or the last part of one."""
    runner = Runner.from_cfg({**cfg, **changes})
    runner.train()
    return runner


def stop(cfg, event, nth, **changes):
    """A part of a run, which ends when `event` comes for the `nth` time."""
    runner = Runner.from_cfg({**cfg, "custom_hooks": [*cfg["custom_hooks"], StopAt(event, nth)], **changes})
    with pytest.raises(Interrupted):
        runner.train()
    return runner


def hook_of(runner, kind):
    """The only hook of a class."""
    (found,) = [hook for hook in runner.hooks if isinstance(hook, kind)]
    return found


def trained(runner):
    """Weights, buffers, optimizer, schedulers and scaler."""
    return runner.strategy.state_tree()


def state_of(runner):
    """All that must be the same in two equal runs."""
    runner.ctx.metrics.flush()
    tree = {
        **trained(runner),
        "clock": runner.ctx.clock.state_dict(),
        "histories": runner.ctx.metrics.state_dict(),
        "hooks": {name: hook.state_dict() for name, hook in runner._stateful_hooks().items()},
        "average": [hook.ema_model.state_dict() for hook in runner.hooks if isinstance(hook, EMAHook)],
        "rng": rng.capture(),
        "requires_grad": {name: p.requires_grad for name, p in runner.model.named_parameters()},
        "best": runner.message_hub.get_info("best_score"),
        "files": sorted(_same_point(name) for name in os.listdir(runner.work_dir) if name.endswith(".pth")),
    }
    if isinstance(runner.train_dataloader, KeyedDataLoader):
        tree["loader"] = runner.train_dataloader.state_dict()
    return _comparable(tree, runner)


def _same_point(name):
    """An interruption between two epochs leaves a file of its own for the point of the epoch's."""
    number = re.fullmatch(r"iter_(\d+)\.pth", name)
    return f"epoch_{int(number[1]) // N_BATCHES}.pth" if number and int(number[1]) % N_BATCHES == 0 else name


def _comparable(tree, runner):
    if isinstance(tree, dict):
        return {
            key: _comparable(value, runner)
            for key, value in tree.items()
            if not any(word in str(key) for word in CHANGING)
        }
    if isinstance(tree, (list, tuple)):
        return [_comparable(value, runner) for value in tree]
    return _same_point(tree.replace(runner.work_dir + os.sep, "")) if isinstance(tree, str) else tree


def best_file(runner):
    """The path of the best checkpoint."""
    return hook_of(runner, CheckpointHook).best_ckpt_path
