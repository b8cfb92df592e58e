"""Hooks of the code-first trainer (API of detectron2's ``engine.hooks``)."""

from trainwright.trainer.hooks.callback import CallbackHook
from trainwright.trainer.hooks.evaluation import EvalHook
from trainwright.trainer.hooks.lr_scheduler import LRScheduler
from trainwright.trainer.hooks.precise_bn import PreciseBN, get_bn_modules, update_bn_stats
from trainwright.trainer.hooks.profiling import AutogradProfiler, TorchMemoryStats, TorchProfiler
from trainwright.trainer.hooks.saving import BestCheckpointer, PeriodicCheckpointer
from trainwright.trainer.hooks.timer import IterationTimer
from trainwright.trainer.hooks.writing import PeriodicWriter

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
    "get_bn_modules",
    "update_bn_stats",
]
