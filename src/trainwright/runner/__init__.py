"""The config-first front door: Runner, its builders, its checks and its log line."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright.runner.log_processor import LogProcessor
    from trainwright.runner.lr_finder import find_lr
    from trainwright.runner.replay import Replay, replay_config, replay_step
    from trainwright.runner.runner import FlexibleRunner, Runner
    from trainwright.runner.schedule_plan import plan_schedules

__all__ = [
    "FlexibleRunner",
    "LogProcessor",
    "Replay",
    "Runner",
    "find_lr",
    "plan_schedules",
    "replay_config",
    "replay_step",
]

_HOMES = {
    "FlexibleRunner": "trainwright.runner.runner",
    "LogProcessor": "trainwright.runner.log_processor",
    "Replay": "trainwright.runner.replay",
    "Runner": "trainwright.runner.runner",
    "find_lr": "trainwright.runner.lr_finder",
    "plan_schedules": "trainwright.runner.schedule_plan",
    "replay_config": "trainwright.runner.replay",
    "replay_step": "trainwright.runner.replay",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: who only wants to know which settings there are need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
