"""The code-first trainer: a loop with hooks around a step of your own, in the terms of detectron2's engine.

Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainwright.trainer import hooks
    from trainwright.trainer.amp import AMPTrainer
    from trainwright.trainer.base import TrainerBase
    from trainwright.trainer.checkpointer import Checkpointer
    from trainwright.trainer.events import EventStorage, EventWriter, get_event_storage, has_event_storage
    from trainwright.trainer.history import HistoryBuffer
    from trainwright.trainer.hook_base import HookBase
    from trainwright.trainer.hooks import (
        AutogradProfiler,
        BestCheckpointer,
        CallbackHook,
        EvalHook,
        IterationTimer,
        LRScheduler,
        PeriodicCheckpointer,
        PeriodicWriter,
        PreciseBN,
        TorchMemoryStats,
        TorchProfiler,
        get_bn_modules,
        update_bn_stats,
    )
    from trainwright.trainer.simple import SimpleTrainer
    from trainwright.trainer.writers import CommonMetricPrinter, JSONWriter, TensorboardXWriter

_HOME = {
    "AMPTrainer": "amp",
    "AutogradProfiler": "hooks",
    "BestCheckpointer": "hooks",
    "CallbackHook": "hooks",
    "Checkpointer": "checkpointer",
    "CommonMetricPrinter": "writers",
    "EvalHook": "hooks",
    "EventStorage": "events",
    "EventWriter": "events",
    "HistoryBuffer": "history",
    "HookBase": "hook_base",
    "IterationTimer": "hooks",
    "JSONWriter": "writers",
    "LRScheduler": "hooks",
    "PeriodicCheckpointer": "hooks",
    "PeriodicWriter": "hooks",
    "PreciseBN": "hooks",
    "SimpleTrainer": "simple",
    "TensorboardXWriter": "writers",
    "TorchMemoryStats": "hooks",
    "TorchProfiler": "hooks",
    "TrainerBase": "base",
    "get_bn_modules": "hooks",
    "get_event_storage": "events",
    "has_event_storage": "events",
    "update_bn_stats": "hooks",
}

__all__ = [
    "AMPTrainer",
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "Checkpointer",
    "CommonMetricPrinter",
    "EvalHook",
    "EventStorage",
    "EventWriter",
    "HistoryBuffer",
    "HookBase",
    "IterationTimer",
    "JSONWriter",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "SimpleTrainer",
    "TensorboardXWriter",
    "TorchMemoryStats",
    "TorchProfiler",
    "TrainerBase",
    "get_bn_modules",
    "get_event_storage",
    "has_event_storage",
    "hooks",
    "update_bn_stats",
]


def __getattr__(name: str) -> Any:
    if name == "hooks":
        return import_module("trainwright.trainer.hooks")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"trainwright.trainer.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
