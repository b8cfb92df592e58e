"""The learning rates and momenta of a config, as TensorBoard shows them: a training of a model that does nothing.

`trainwright plot-schedule CONFIG` draws the same without a training.
"""

from __future__ import annotations

import warnings
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from trainwright.hooks import RuntimeInfoHook
from trainwright.model import BaseModel
from trainwright.optim import OptimWrapper
from trainwright.runner import Runner

_LEFT_OUT = (
    "visualizer",
    "val_dataloader",
    "val_evaluator",
    "val_cfg",
    "test_dataloader",
    "test_evaluator",
    "test_cfg",
)


class ToyModel(BaseModel):
    """A model with something to optimise, whose loss is 0. It is in no registry, where a user's may have its name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        return {"loss": torch.tensor(0.0)}

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """No step, and no look at the batch."""
        losses = self.forward()
        optim_wrapper.update_params(losses["loss"])
        return losses


def update_params_step(self: Any, loss: torch.Tensor) -> None:
    """In the place of ``OptimWrapper.update_params``: no update."""


def runtimeinfo_step(self: Any, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
    """In the place of ``RuntimeInfoHook.before_train_iter``: what the first parameter groups have."""
    runner.message_hub.update_info("iter", runner.iter)
    for settings in (runner.optim_wrapper.get_lr(), runner.optim_wrapper.get_momentum()):
        for name, values in settings.items():
            runner.message_hub.update_scalar(f"train/{name}", values[0])


def fake_run(cfg: Any) -> None:
    """Train by the config with :class:`ToyModel` and without validation; TensorBoard's files go to ``temp_dir``."""
    for name in _LEFT_OUT:
        cfg.pop(name, None)
    cfg.merge_from_dict(
        {
            "visualizer": {
                "type": "Visualizer",
                "vis_backends": [{"type": "TensorboardVisBackend", "save_dir": "temp_dir"}],
            }
        }
    )
    cfg.model = ToyModel()
    with (
        warnings.catch_warnings(),
        patch.object(OptimWrapper, "update_params", update_params_step),
        patch.object(RuntimeInfoHook, "before_train_iter", runtimeinfo_step),
    ):
        warnings.filterwarnings("ignore", "a schedule goes on although its optimizer", UserWarning)
        Runner.from_cfg(cfg).train()
