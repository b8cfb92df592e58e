"""detectron2.engine.train_loop."""

from trainwright.trainer.amp import AMPTrainer
from trainwright.trainer.base import HookBase, TrainerBase
from trainwright.trainer.simple import SimpleTrainer

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]
