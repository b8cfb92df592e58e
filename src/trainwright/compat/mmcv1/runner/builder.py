"""Runners by name."""

from __future__ import annotations

import copy
from typing import Any

from trainwright.compat.mmcv1.utils.registry import Registry

RUNNERS = Registry("runner")
RUNNER_BUILDERS = Registry("runner builder")


def build_runner_constructor(cfg: dict[str, Any]) -> Any:
    """The object that builds a runner when it is called."""
    return RUNNER_BUILDERS.build(cfg)


def build_runner(cfg: dict[str, Any], default_args: dict[str, Any] | None = None) -> Any:
    """The runner that ``cfg`` describes, made by the constructor that its key ``constructor`` names."""
    runner_cfg = copy.deepcopy(cfg)
    kind = runner_cfg.pop("constructor", "DefaultRunnerConstructor")
    return build_runner_constructor({"type": kind, "runner_cfg": runner_cfg, "default_args": default_args})()
