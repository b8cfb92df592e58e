"""The registry of models, which other packages hang theirs below."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.base_module import Sequential
from trainwright.compat.mmcv1.utils.registry import Registry, build_from_cfg


def build_model_from_cfg(cfg: Any, registry: Registry, default_args: Any = None) -> Any:
    """Build a model; of a list of configs a Sequential."""
    if isinstance(cfg, list):
        return Sequential(*(build_from_cfg(part, registry, default_args) for part in cfg))
    return build_from_cfg(cfg, registry, default_args)


MODELS = Registry("model", build_func=build_model_from_cfg)
