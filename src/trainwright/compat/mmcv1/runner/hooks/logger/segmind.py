"""Segmind."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook


@HOOKS.register_module()
class SegmindLoggerHook(LoggerHook):
    """Metrics of Segmind, at the step of their epoch."""

    def __init__(
        self, interval: int = 10, ignore_last: bool = True, reset_flag: bool = False, by_epoch: bool = True
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.import_segmind()

    def import_segmind(self) -> None:
        """Import the package."""
        segmind: Any = self.package("segmind", "segmind")
        self.log_metrics = segmind.tracking.fluent.log_metrics
        self.mlflow_log = segmind.utils.logging_utils.try_mlflow_log

    @master_only
    def log(self, runner: Any) -> None:
        """Write the tags."""
        self.mlflow_log(self.log_metrics, self.get_loggable_tags(runner), step=runner.epoch, epoch=runner.epoch)
