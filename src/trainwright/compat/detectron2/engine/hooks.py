"""detectron2.engine.hooks: ours, and what they log goes where detectron2's does."""

from __future__ import annotations

from trainwright.trainer import hooks as ours
from trainwright.trainer.hooks import (
    AutogradProfiler,
    CallbackHook,
    EvalHook,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    TorchProfiler,
)

__all__ = [
    "AutogradProfiler",
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
]

_LOGGER = "detectron2.engine.hooks"


class IterationTimer(ours.IterationTimer):
    """See trainwright.trainer.hooks."""

    logger_name = _LOGGER


class BestCheckpointer(ours.BestCheckpointer):
    """See trainwright.trainer.hooks."""

    logger_name = _LOGGER


class PreciseBN(ours.PreciseBN):
    """See trainwright.trainer.hooks."""

    logger_name = _LOGGER


class TorchMemoryStats(ours.TorchMemoryStats):
    """See trainwright.trainer.hooks."""

    logger_name = _LOGGER
