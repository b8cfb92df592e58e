"""Weights & Biases."""

from __future__ import annotations

import os
import warnings
from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook
from trainwright.compat.mmcv1.utils import scandir

_SUMMARIES = ("min", "max", "mean", "best", "last", "none")


@HOOKS.register_module()
class WandbLoggerHook(LoggerHook):
    """Metrics of a run of Weights & Biases.

    ``init_kwargs``: arguments of ``wandb.init``. ``commit`` and ``with_step`` say how ``wandb.log`` is called; without
    a step it is a value among the others. ``log_artifact`` uploads the files of the run's folder that end in one of
    ``out_suffix``, at the end. ``define_metric_cfg``: metric -> summary (min, max, mean, best, last, none).
    """

    def __init__(
        self,
        init_kwargs: dict[str, Any] | None = None,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        commit: bool = True,
        by_epoch: bool = True,
        with_step: bool = True,
        log_artifact: bool = True,
        out_suffix: str | tuple[str, ...] = (".log.json", ".log", ".py"),
        define_metric_cfg: dict[str, str] | None = None,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.import_wandb()
        self.init_kwargs = init_kwargs
        self.commit = commit
        self.with_step = with_step
        self.log_artifact = log_artifact
        self.out_suffix = out_suffix
        self.define_metric_cfg = define_metric_cfg

    def import_wandb(self) -> None:
        """Import the package."""
        self.wandb: Any = self.package("wandb", "wandb")

    def _begin(self, runner: Any) -> None:
        if self.wandb is None:
            self.import_wandb()
        self.wandb.init(**(self.init_kwargs or {}))
        for metric, summary in (self.define_metric_cfg or {}).items():
            if summary not in _SUMMARIES:
                warnings.warn(
                    f"define_metric_cfg[{metric!r}] must be one of {', '.join(_SUMMARIES)}, got {summary!r}: it is "
                    "left to wandb.",
                    stacklevel=2,
                )
            self.wandb.define_metric(metric, summary=summary)

    @master_only
    def log(self, runner: Any) -> None:
        """Write the tags of an iteration."""
        tags, step = self.get_loggable_tags(runner), self.get_iter(runner)
        if self.with_step:
            self.wandb.log(tags, step=step, commit=self.commit)
        else:
            self.wandb.log({**tags, "global_step": step}, commit=self.commit)

    @master_only
    def after_run(self, runner: Any) -> None:
        """Upload the files, and end the run."""
        if self.log_artifact:
            artifact = self.wandb.Artifact(name="artifacts", type="model")
            for name in scandir(runner.work_dir, self.out_suffix, True):
                artifact.add_file(os.path.join(runner.work_dir, name))
            self.wandb.log_artifact(artifact)
        # What ends a run has another name by now.
        (self.wandb.join if hasattr(self.wandb, "join") else self.wandb.finish)()
