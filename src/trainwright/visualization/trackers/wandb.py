"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.base.logs import print_log
from trainwright.registry import VISBACKENDS
from trainwright.visualization.scalars import Cut
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
    cuts = "by its server"

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
        self._run_at: dict[str, Any] | None = None  # the run to go on with, and where in it
        self._is_of_user = any(name in self._init_kwargs for name in ("id", "resume", "resume_from", "fork_from"))

    def _init_env(self) -> None:
        self._wandb: Any = self.import_package()
        self._init_kwargs.setdefault("dir", self.make_folder())
        self._run = self._start()
        # What the module has is that of the run that began last, unless it is one beside others.
        self._owner: Any = self._run if self._init_kwargs.get("reinit") == "create_new" else self._wandb
        metrics = self._define_metric_cfg or []
        if isinstance(metrics, dict):
            for name, summary in metrics.items():
                self._owner.define_metric(name, summary=summary)
        else:
            for metric in metrics:
                self._owner.define_metric(**metric)

    def _start(self) -> Any:
        kwargs = dict(self._init_kwargs)
        if self._run_at is None or self._is_of_user:
            return self._wandb.init(**kwargs)
        run_id, position = self._run_at["id"], self._run_at.get("cut_at")
        is_offline = kwargs.get("mode", os.environ.get("WANDB_MODE")) == "offline"
        if position and not is_offline:
            try:
                return self._wandb.init(**kwargs, resume_from=f"{run_id}?_step={position - 1}")
            except self._wandb.errors.Error as error:
                print_log(f"W&B cannot go back to step {position - 1} of run {run_id} ({error}); it goes on", "current")
        return self._wandb.init(**kwargs, id=run_id, **({} if is_offline else {"resume": "allow"}))

    def _experiment(self) -> Any:
        return self._wandb

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config, and the code below the working folder."""
        self.open()
        may_change = self._init_kwargs.get("allow_val_change", False) or self._run_at is not None
        self._owner.config.update(as_plain(as_dict(config)), allow_val_change=may_change)
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
        self._run_at = {"id": self._run.id, "position": self._run.step}
        self._run.finish()

    def _identity(self) -> dict[str, Any] | None:
        if self._env_initialized:
            return {"id": self._run.id, "position": self._run.step}
        return None if self._run_at is None else {name: self._run_at[name] for name in ("id", "position")}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._run_at = {"id": state["id"], "position": state["position"]}

    def _cut(self, state: Mapping[str, Any], cut: Cut) -> None:
        if cut.dropped:  # W&B counts its own steps, so where it goes back to is what it counted at the checkpoint
            self.close()
            self._run_at = {"id": state["id"], "position": state["position"], "cut_at": state["position"]}
