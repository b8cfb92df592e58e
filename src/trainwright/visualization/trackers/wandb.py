"""Weights & Biases."""

from __future__ import annotations

from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import Tracker, as_dict, as_picture, as_plain


@VISBACKENDS.register_module()
class WandbVisBackend(Tracker):
    """A run of Weights & Biases. Its own step counts the calls, so ``step`` is written next to the values.

    Args:
        save_dir: where the package keeps its files.
        init_kwargs: arguments of ``wandb.init``.
        define_metric_cfg: ``{metric: summary}``, or a list of arguments of ``define_metric``.
        commit: whether a call ends a step of W&B.
        log_code_name: name of the artifact that holds the code.
        watch_kwargs: arguments of ``watch``, for ``add_graph``.
    """

    package = "wandb"

    def __init__(
        self,
        save_dir: str,
        init_kwargs: dict[str, Any] | None = None,
        define_metric_cfg: dict[str, str] | list[dict[str, Any]] | None = None,
        commit: bool | None = True,
        log_code_name: str | None = None,
        watch_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(save_dir)
        if not isinstance(define_metric_cfg, (dict, list, type(None))):
            raise ConfigTypeError(
                f"define_metric_cfg must be a dict or a list of dicts, but got a {type(define_metric_cfg).__name__}."
            )
        self._init_kwargs = dict(init_kwargs or {})
        self._define_metric_cfg = define_metric_cfg
        self._commit = commit
        self._log_code_name = log_code_name
        self._watch_kwargs = dict(watch_kwargs or {})

    def _init_env(self) -> None:
        self._wandb: Any = self.import_package()
        self._init_kwargs.setdefault("dir", self.make_folder())
        self._run = self._wandb.init(**self._init_kwargs)
        metrics = self._define_metric_cfg or []
        if isinstance(metrics, dict):
            metrics = [{"name": name, "summary": summary} for name, summary in metrics.items()]
        for metric in metrics:
            self._run.define_metric(**metric)

    def _experiment(self) -> Any:
        return self._wandb

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config, and the code below the working folder."""
        self.open()
        may_change = self._init_kwargs.get("allow_val_change", False)
        self._run.config.update(as_plain(as_dict(config)), allow_val_change=may_change)
        self._run.log_code(name=self._log_code_name)

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Watch the model."""
        self.open()
        self._run.watch(model, **self._watch_kwargs)

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture."""
        self.open()
        self._run.log({name: self._wandb.Image(as_picture(name, image)), "step": step}, commit=self._commit)

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """All of them in one call."""
        self._run.log({**numbers, "step": step}, commit=self._commit)

    def _close(self) -> None:
        # What is written after this goes on with the same run.
        self._init_kwargs |= {"id": self._run.id, "resume": "allow"}
        self._run.finish()
