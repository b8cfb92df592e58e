"""Optimizers by name, and building one for a model."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch

from trainwright.compat.mmcv1.utils.registry import Registry, build_from_cfg

OPTIMIZERS = Registry("optimizer")
OPTIMIZER_BUILDERS = Registry("optimizer builder")


def register_torch_optimizers() -> list[str]:
    """All classes of torch.optim, its base among them."""
    names = []
    for name, found in vars(torch.optim).items():
        if inspect.isclass(found) and issubclass(found, torch.optim.Optimizer):
            OPTIMIZERS.register_module(module=found)
            names.append(name)
    return names


TORCH_OPTIMIZERS = register_torch_optimizers()


def build_optimizer_constructor(cfg: dict[str, Any]) -> Any:
    return build_from_cfg(cfg, OPTIMIZER_BUILDERS)


def build_optimizer(model: Any, cfg: dict[str, Any]) -> Any:
    """The optimizer that `cfg` describes, over the parameters of `model`; `cfg` is left as it is."""
    settings = copy.deepcopy(cfg)
    constructor = build_optimizer_constructor(
        {
            "type": settings.pop("constructor", "DefaultOptimizerConstructor"),
            "paramwise_cfg": settings.pop("paramwise_cfg", None),
            "optimizer_cfg": settings,
        }
    )
    return constructor(model)
