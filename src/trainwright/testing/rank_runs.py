"""Whole runs of the toy task, to be compared between strategies and numbers of ranks."""

from __future__ import annotations

import os
from typing import Any

import torch

from trainwright.checkpoint import read_file
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config

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
    tree = read_file(str(path))
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
