"""DVCLive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, is_method_of
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook


@HOOKS.register_module()
class DvcliveLoggerHook(LoggerHook):
    """Metrics of DVCLive, after each epoch, or after iterations where not ``by_epoch``.

    ``dvclive`` is a ``Live`` to write with; without one ``kwargs`` make it. ``model_file`` gets the checkpoint after
    each epoch.
    """

    def __init__(
        self,
        model_file: str | None = None,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        by_epoch: bool = True,
        dvclive: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.model_file = model_file
        self._import_dvclive(dvclive, **kwargs)

    def _import_dvclive(self, dvclive: Any = None, **kwargs: Any) -> None:
        make_live: Any = self.package("dvclive", "dvclive").Live
        self.dvclive = make_live(**kwargs) if dvclive is None else dvclive

    @master_only
    def log(self, runner: Any) -> None:
        """Write each tag at its step."""
        live = self.dvclive
        tags = self.get_loggable_tags(runner)
        step = self.get_epoch(runner) if self.by_epoch else self.get_iter(runner)
        # The package has given both methods other names since.
        if hasattr(live, "set_step"):
            live.set_step(step)
        else:
            live.step = step
        write = live.log if hasattr(live, "log") else live.log_metric
        for name, value in tags.items():
            write(name, value)

    def after_train_epoch(self, runner: Any) -> None:
        """Save the model file, and log by epoch."""
        if self.model_file is not None:
            file = Path(self.model_file)
            runner.save_checkpoint(file.parent, filename_tmpl=file.name, create_symlink=False)
        if self.by_epoch:
            super().after_train_epoch(runner)

    def idle_at(self, stage: str) -> bool:
        """It logs by epoch or by iteration."""
        return self.by_epoch and stage == "after_train_iter" and is_method_of(DvcliveLoggerHook, self, stage)

    def after_train_iter(self, runner: Any) -> None:
        """Log by iteration."""
        if not self.by_epoch:
            super().after_train_iter(runner)
