"""Loops: short functions that order spans of iterations."""

from trainwright.engine.loops.base import BaseLoop
from trainwright.engine.loops.evaluation import EvalLoop, TestLoop, ValLoop
from trainwright.engine.loops.intervals import ValSchedule
from trainwright.engine.loops.train import EpochBasedTrainLoop, IterBasedTrainLoop, TrainLoop

__all__ = [
    "BaseLoop",
    "EpochBasedTrainLoop",
    "EvalLoop",
    "IterBasedTrainLoop",
    "TestLoop",
    "TrainLoop",
    "ValLoop",
    "ValSchedule",
]
