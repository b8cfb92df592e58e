"""Names of mmengine.runner.loops."""

from trainwright.engine.loops.epoch_based import EpochBasedTrainLoop
from trainwright.engine.loops.evaluation import TestLoop, ValLoop
from trainwright.engine.loops.iter_based import IterBasedTrainLoop

__all__ = ["EpochBasedTrainLoop", "IterBasedTrainLoop", "TestLoop", "ValLoop"]
