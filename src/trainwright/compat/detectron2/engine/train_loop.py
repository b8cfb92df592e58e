"""detectron2.engine.train_loop."""

from trainwright.trainer.base import HookBase, TrainerBase
from trainwright.trainer.simple import AMPTrainer, SimpleTrainer

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]
