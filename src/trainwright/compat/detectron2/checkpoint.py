"""detectron2.checkpoint, as far as it is fvcore's."""

from trainwright.trainer.checkpointer import Checkpointer, PeriodicCheckpointer

__all__ = ["Checkpointer", "PeriodicCheckpointer"]
