"""ClearML."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook


@HOOKS.register_module()
class ClearMLLoggerHook(LoggerHook):
    """Scalars of a ClearML task. ``init_kwargs``: arguments of ``clearml.Task.init``."""

    def __init__(
        self,
        init_kwargs: dict[str, Any] | None = None,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.import_clearml()
        self.init_kwargs = init_kwargs

    def import_clearml(self) -> None:
        """Import the package."""
        self.clearml: Any = self.package("clearml", "clearml")

    def _begin(self, runner: Any) -> None:
        self.task = self.clearml.Task.init(**(self.init_kwargs or {}))
        self.task_logger = self.task.get_logger()

    @master_only
    def log(self, runner: Any) -> None:
        """Report each tag."""
        for tag, value in self.get_loggable_tags(runner).items():
            self.task_logger.report_scalar(tag, tag, value, self.get_iter(runner))
