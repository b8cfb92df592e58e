"""MLflow."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.logger.base import LoggerHook
from trainwright.compat.mmcv1.utils import TORCH_VERSION


@HOOKS.register_module()
class MlflowLoggerHook(LoggerHook):
    """Metrics of MLflow, in the experiment ``exp_name``, with ``tags`` and ``params`` of the run; with ``log_model``
    also the model, at the end."""

    def __init__(
        self,
        exp_name: str | None = None,
        tags: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        log_model: bool = True,
        interval: int = 10,
        ignore_last: bool = True,
        reset_flag: bool = False,
        by_epoch: bool = True,
    ) -> None:
        super().__init__(interval, ignore_last, reset_flag, by_epoch)
        self.import_mlflow()
        self.exp_name = exp_name
        self.tags = tags
        self.params = params
        self.log_model = log_model

    def import_mlflow(self) -> None:
        """Import the package, and the part of it that knows torch."""
        self.mlflow: Any = self.package("mlflow", "mlflow")
        self.mlflow_pytorch: Any = self.package("mlflow.pytorch", "mlflow")

    def _begin(self, runner: Any) -> None:
        if self.exp_name is not None:
            self.mlflow.set_experiment(self.exp_name)
        if self.tags is not None:
            self.mlflow.set_tags(self.tags)
        if self.params is not None:
            self.mlflow.log_params(self.params)

    @master_only
    def log(self, runner: Any) -> None:
        """Write the tags of an iteration."""
        self.mlflow.log_metrics(self.get_loggable_tags(runner), step=self.get_iter(runner))

    @master_only
    def after_run(self, runner: Any) -> None:
        """Log the model."""
        if self.log_model:
            self.mlflow_pytorch.log_model(runner.model, "models", pip_requirements=[f"torch=={TORCH_VERSION}"])
