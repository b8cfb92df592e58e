"""Neptune."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook


@HOOKS.register_module()
class NeptuneLoggerHook(LoggerHook):
    """Series of a Neptune run. ``init_kwargs``: arguments of ``neptune.new.init``. Without ``with_step`` the step is a
    value among the others."""

    def __init__(
        self,
        init_kwargs: dict[str, Any] | None = None,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = True,
        with_step: bool = True,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.import_neptune()
        self.init_kwargs = init_kwargs
        self.with_step = with_step

    def import_neptune(self) -> None:
        """Import the package."""
        self.neptune: Any = self.package("neptune.new", "neptune-client")
        self.run: Any = None

    @master_only
    def before_run(self, runner: Any) -> None:
        """Start the run."""
        self.run = self.neptune.init(**(self.init_kwargs or {}))

    @master_only
    def log(self, runner: Any) -> None:
        """Add a point to each series."""
        tags, step = self.get_loggable_tags(runner), self.get_iter(runner)
        for name, value in tags.items():
            if self.with_step:
                self.run[name].log(value, step=step)
            else:
                self.run[name].log({**tags, "global_step": step})

    @master_only
    def after_run(self, runner: Any) -> None:
        """End the run."""
        self.run.stop()
