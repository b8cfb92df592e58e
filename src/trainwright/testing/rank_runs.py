"""Whole runs of the toy task, to be compared between strategies and numbers of ranks."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.distributed.fsdp  # both are what a rank would import by itself, in seconds; forked ranks have them already

from trainwright.base.errors import ConfigError
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import differences, toy_config, toy_loader

ADAM = {"type": "AdamW", "lr": 0.05}
EVERY_2 = {"checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}}
# Name: changes of the config.
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "adam": {"optim_wrapper": {"optimizer": ADAM}},
    "clip": {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.5}, "clip_grad": {"max_norm": 0.2}}},
    "clip_value": {
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.5}, "clip_grad": {"type": "value", "clip_value": 0.02}}
    },
    "accumulate": {"optim_wrapper": {"optimizer": ADAM, "accumulative_counts": 2}},
    "amp": {"optim_wrapper": {"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": {"type": "SGD", "lr": 0.1}}},
    "ema": {"custom_hooks": [{"type": "EMAHook", "momentum": 0.3}]},
    "norms": {"custom_hooks": [{"type": "GradNormHook", "modules": "first", "weights": True}]},
}
# What of a checkpoint depends on the clock on the wall and on the folder.
_PARTS = ("state_dict", "optimizer", "param_schedulers", "rng", "loader", "ema_state_dict")


def train_toy(work_dir: str | os.PathLike[str], **changes: Any) -> Runner:
    """A toy run with these changes of its config, trained to its end."""
    runner = Runner.from_cfg(toy_config(work_dir, **changes))
    runner.train()
    return runner


def logged(runner: Runner, name: str = "loss") -> list[float]:
    """Every value of a training metric."""
    values: list[float] = runner.message_hub.get_scalar(f"train/{name}").data[0].tolist()
    return values


def exact_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What of a checkpoint must be the same, bit for bit, in two runs that did the same."""
    tree = read_checkpoint(path)
    state = {name: tree[name] for name in _PARTS if name in tree}
    state["progress"] = {name: tree["meta"][name] for name in ("epoch", "iter", "inner_iter")}
    histories = tree["message_hub"]["log_scalars"]
    state["history"] = {name: value for name, value in histories.items() if "loss" in name or "grad_norm" in name}
    return state


class SampleRecorder(Hook):
    """Keeps the first feature of every sample that this rank trains on, a list an iteration."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Note the batch."""
        self.batches.append(torch.as_tensor(data_batch["inputs"])[:, 0].tolist())


def saved_at(folder: Path, name: str) -> Path:
    """The checkpoint of that name in either layout: a file, or else a step folder."""
    file = folder / f"{name}.pth"
    return file if file.is_file() else folder / name


def run_cases(folder: Path, batch_size: int, strategy: dict[str, Any] | None) -> dict[str, Any]:
    """Losses, norms and the last checkpoint of every case."""
    found: dict[str, Any] = {}
    for name, changes in CASES.items():
        # A window of two batches is the batch of the other cases.
        size = batch_size // 2 if name == "accumulate" else batch_size
        runner = train_toy(
            folder / name,
            train_dataloader=toy_loader(16, size),
            default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": -1}},
            **({"strategy": strategy} if strategy else {}),
            **changes,
        )
        metrics = {key: value for key, value in runner.message_hub.log_scalars.items() if "norm" in key}
        found[name] = {
            "losses": logged(runner),
            "norms": {key: value.data[0].tolist() for key, value in metrics.items()},
            "accuracy": runner.message_hub.get_scalar("val/accuracy/top1").current(),
        }
        if runner.rank == 0:
            parts = ("state_dict", "optimizer", "ema_state_dict")
            tree = read_checkpoint(saved_at(folder / name, "epoch_2"))
            found[name]["tree"] = {key: tree[key] for key in parts if key in tree}
    return found


def close(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two trees hold the same numbers, but for rounding."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        return all(close(one[key], other[key], tolerance) for key in one)
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        return all(close(*pair, tolerance) for pair in zip(one, other, strict=True))
    if isinstance(one, torch.Tensor):
        return torch.allclose(one.float(), other.float(), rtol=0, atol=tolerance)
    return bool(one == other or abs(one - other) <= tolerance)


def resume_differences(folder: Path, **changes: Any) -> list[str]:
    """Where the end of a run differs from that of one that was taken up in the middle of it, in the middle of an epoch;
    once in an accumulation window of its own."""
    common: dict[str, Any] = {
        "train_dataloader": toy_loader(36, 2, noise=0.1),
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
        "model": {"type": "ToyModel", "dropout": 0.3},
        "optim_wrapper": {"optimizer": ADAM, "clip_grad": {"max_norm": 0.5}},
        "param_scheduler": {"type": "CosineAnnealingLR", "by_epoch": False},
        "custom_hooks": [{"type": "EMAHook", "momentum": 0.3}],
        "default_hooks": EVERY_2,
        **changes,
    }
    whole = train_toy(folder / "whole", **common)
    torch.rand(7)  # whoever resumes has drawn other numbers
    train_toy(folder / "rest", load_from=os.fspath(saved_at(folder / "whole", "iter_4")), resume=True, **common)
    one, other = (exact_state(saved_at(folder / part, f"iter_{whole.max_iters}")) for part in ("whole", "rest"))
    return differences(one, other)


def in_ranks(n_ranks: int, func: Any, *args: Any) -> list[Any]:
    """``func(*args)`` on so many ranks."""
    return run_ranks(n_ranks, func, *args, timeout_s=60)


def refused(work: Callable[[], Any]) -> str:
    """What the ConfigError of ``work()`` says, to be compared between ranks; 'nothing' where there is none."""
    try:
        work()
    except ConfigError as error:
        return str(error)
    return "nothing"
