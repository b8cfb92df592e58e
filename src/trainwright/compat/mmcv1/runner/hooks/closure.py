"""A hook made of one function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.base.text import did_you_mean
from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook


@HOOKS.register_module()
class ClosureHook(Hook):
    """Calls ``fn(runner)`` at the stage ``fn_name``."""

    def __init__(self, fn_name: str, fn: Callable[..., Any]) -> None:
        demand(
            hasattr(self, fn_name),
            f"ClosureHook fn_name must be a stage of a run, got {fn_name!r}.{did_you_mean(fn_name, Hook.stages)}",
        )
        demand(callable(fn), f"ClosureHook fn must be a function of the runner, got {fn!r}")
        setattr(self, fn_name, fn)
