"""What mmcv.runner.hooks.logger exports: all are imported, so that their names are registered."""

from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.clearml import ClearMLLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.dvclive import DvcliveLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.mlflow import MlflowLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.neptune import NeptuneLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.pavi import PaviLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.segmind import SegmindLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.tensorboard import TensorboardLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.text import TextLoggerHook
from trainwright.compat.mmcv1.runner.hooks.logger.wandb import WandbLoggerHook

__all__ = [
    "ClearMLLoggerHook",
    "DvcliveLoggerHook",
    "LoggerHook",
    "MlflowLoggerHook",
    "NeptuneLoggerHook",
    "PaviLoggerHook",
    "SegmindLoggerHook",
    "TensorboardLoggerHook",
    "TextLoggerHook",
    "WandbLoggerHook",
]
