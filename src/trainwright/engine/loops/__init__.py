"""Loops: short functions that order spans of iterations."""

from trainwright.engine.loops.base import BaseLoop
from trainwright.engine.loops.epoch_based import EpochBasedTrainLoop
from trainwright.engine.loops.evaluation import EvalLoop, TestLoop, ValLoop
from trainwright.engine.loops.intervals import ValSchedule
from trainwright.engine.loops.iter_based import IterBasedTrainLoop
from trainwright.engine.loops.own_counters import follow_counters, set_counters
from trainwright.engine.loops.train import TrainLoop

__all__ = [
    "BaseLoop",
    "EpochBasedTrainLoop",
    "EvalLoop",
    "IterBasedTrainLoop",
    "TestLoop",
    "TrainLoop",
    "ValLoop",
    "ValSchedule",
    "follow_counters",
    "set_counters",
]
