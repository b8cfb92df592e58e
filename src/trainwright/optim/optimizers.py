"""Every optimizer of torch.optim under its class name."""

from __future__ import annotations

import inspect

import torch
from torch.optim import Optimizer

from trainwright.registry import OPTIMIZERS


def _register_torch_optimizers() -> list[str]:
    names = []
    for name, found in vars(torch.optim).items():
        if inspect.isclass(found) and issubclass(found, Optimizer) and found is not Optimizer:
            OPTIMIZERS.register_module(name=name, module=found)
            names.append(name)
    return names


TORCH_OPTIMIZERS = _register_torch_optimizers()
