"""TensorBoard."""

from __future__ import annotations

import os
import sys
from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook


@HOOKS.register_module()
class TensorboardLoggerHook(LoggerHook):
    """Event files in ``log_dir``, which is ``tf_logs`` of the run's folder where none is named."""

    def __init__(
        self,
        log_dir: str | None = None,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.log_dir = log_dir

    def _begin(self, runner: Any) -> None:
        if "torch.utils.tensorboard" not in sys.modules:
            self.package("tensorboard", "tensorboard", "vis")
        from torch.utils.tensorboard import SummaryWriter

        if self.log_dir is None:
            self.log_dir = os.path.join(runner.work_dir, "tf_logs")
        self.writer: Any = SummaryWriter(self.log_dir)

    @master_only
    def log(self, runner: Any) -> None:
        """Write each tag: texts as text, all else as a scalar."""
        step = self.get_iter(runner)
        for tag, value in self.get_loggable_tags(runner, allow_text=True).items():
            write = self.writer.add_text if isinstance(value, str) else self.writer.add_scalar
            write(tag, value, step)

    @master_only
    def after_run(self, runner: Any) -> None:
        """Close the writer."""
        self.writer.close()
