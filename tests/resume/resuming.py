"""Runs in parts, and what is compared of them."""

import os
from typing import Any

import pytest

from trainwright.base.errors import Interrupted
from trainwright.data import KeyedDataLoader
from trainwright.hooks import CheckpointHook
from trainwright.runner import Runner
from trainwright.state import rng
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_config, toy_loader

OPTIMIZERS = {
    "sgd": {"type": "SGD", "lr": 0.1, "momentum": 0.9, "nesterov": True},
    "adamw": {"type": "AdamW", "lr": 0.02, "weight_decay": 0.1, "amsgrad": True},
}
# The horizons are given: without them a scheduler ends with the training, which ends elsewhere in a part of it.
BY_EPOCH = [
    {"type": "LinearLR", "start_factor": 0.5, "begin": 0, "end": 2},
    {"type": "CosineAnnealingLR", "T_max": 3, "begin": 2, "end": 5},
]
BY_ITER = [
    {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 6, "by_epoch": False},
    {"type": "MultiStepLR", "milestones": [9, 14], "gamma": 0.5, "begin": 6, "end": 20, "by_epoch": False},
]
CONVERTED = [{"type": "CosineAnnealingLR", "T_max": 5, "begin": 0, "end": 5, "convert_to_iter_based": True}]
NOT_COMPARED = (
    "time",
    "experiment_name",
    "log_dirs",
    "cfg",
    "eta",
    "last_ckpt",
    "keep_ckpt_ids",
    "saved",
    "max_epochs",
)


def config(work_dir: Any, epochs: int = 5, workers: int = 0, optimizer: str = "sgd", **changes: Any) -> dict[str, Any]:
    """Augmentation, dropout, clipping, momentum, schedules, a validation that draws: what a resume can get wrong."""
    base = {
        "model": {"type": "ToyModel", "dropout": 0.3, "noisy_eval": True},
        "train_dataloader": toy_loader(18, 4, noise=0.3, num_workers=workers),
        "val_dataloader": toy_loader(9, 4, shuffle=False, noise=0.1),
        "train_cfg": {"by_epoch": True, "max_epochs": epochs},
        "optim_wrapper": {"optimizer": OPTIMIZERS[optimizer], "clip_grad": {"max_norm": 1.0}},
        "param_scheduler": BY_EPOCH,
        "default_hooks": {
            "logger": {"type": "LoggerHook", "interval": 2},
            "checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 3, "save_best": "auto"},
        },
    }
    return toy_config(work_dir, **{**base, **changes})


def run(cfg: dict[str, Any], stop: StopAt | None = None) -> Runner:
    """Train, to the end or to where ``stop`` interrupts; keeps the state at the end as ``runner.final``."""
    cfg = {**cfg, "custom_hooks": [*cfg.get("custom_hooks", []), *([stop] if stop else [])]}
    runner = Runner.from_cfg(cfg)
    if stop is None:
        runner.train()
    else:
        with pytest.raises(Interrupted) as stopped:
            runner.train()
        assert stopped.value.checkpoint == runner.checkpoints().latest()
    runner.final = final_state(runner)
    return runner


def resumed(cfg: dict[str, Any], stop: StopAt | None = None) -> Runner:
    """Go on from the latest checkpoint in the work dir."""
    return run({**cfg, "resume": True}, stop)


def checkpoint_hook(runner: Runner) -> CheckpointHook:
    """The one that every run here has."""
    return next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))


def final_state(runner: Runner) -> dict[str, Any]:
    """What a checkpoint would hold at the end of the run, without names and times."""
    tree = {
        **runner.strategy.state_tree(),
        "clock": runner.ctx.clock.state_dict(),
        "message_hub": runner.message_hub.plain_state(),
        "hooks": checkpoint_hook(runner).state_dict(),
        "rng": rng.capture(),
    }
    if isinstance(runner.train_dataloader, KeyedDataLoader):
        tree["loader"] = runner.train_dataloader.state_dict()
    return _comparable(tree, runner.work_dir)


def _comparable(tree: Any, work_dir: str) -> Any:
    if isinstance(tree, dict):
        return {
            key: _comparable(value, work_dir)
            for key, value in tree.items()
            if key not in NOT_COMPARED and not str(key).endswith("time")
        }
    if isinstance(tree, (list, tuple)):
        return [_comparable(value, work_dir) for value in tree]
    return tree.replace(work_dir + os.sep, "") if isinstance(tree, str) else tree


def assert_same(one: Runner, other: Runner) -> None:
    """Weights, optimizer, schedulers, counters, random streams, data position, histories, best values: bit for bit."""
    found = differences(one.final, other.final)
    assert not found, "\n".join(found)
