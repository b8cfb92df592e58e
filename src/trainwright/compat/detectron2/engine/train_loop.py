"""detectron2.engine.train_loop."""

from trainwright.trainer.amp import AMPTrainer
from trainwright.trainer.base import TrainerBase
from trainwright.trainer.hook_base import HookBase
from trainwright.trainer.simple import SimpleTrainer

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]
