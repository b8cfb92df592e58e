"""MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainwright.base.logs import print_log
from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import Suffixes, Tracker, as_dict, as_picture, files_with_suffix, flatten


@VISBACKENDS.register_module()
class MLflowVisBackend(Tracker):
    """A run of MLflow; the one that is active where this object is made, or a new one.

    Args:
        save_dir: where the store is, unless there is a ``tracking_uri``: ``mlflow.db``, and ``mlartifacts`` for files.
        exp_name: the experiment, "Default" when None.
        run_name: name of the run.
        tags: tags of the run.
        params: parameters of the run, next to those of the config.
        tracking_uri: the server or store.
        artifact_suffix: files of the work folder that end so are copied to the run when it is closed.
        tracked_config_keys: top-level keys of the config that become parameters; all when None.
        artifact_location: where files go, for an experiment that is made here.
    """

    package = "mlflow"

    def __init__(
        self,
        save_dir: str,
        exp_name: str | None = None,
        run_name: str | None = None,
        tags: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
        tracking_uri: str | None = None,
        artifact_suffix: Suffixes = (".json", ".log", ".py", "yaml"),
        tracked_config_keys: Sequence[str] | None = None,
        artifact_location: str | None = None,
    ) -> None:
        super().__init__(save_dir)
        self._exp_name = exp_name
        self._run_name = run_name
        self._tags = tags
        self._params = params
        self._tracking_uri = tracking_uri
        self._artifact_suffix = artifact_suffix
        self._tracked_config_keys = tracked_config_keys
        self._artifact_location = artifact_location
        self._work_dir: str | None = None
        # A run is active in one thread only, and writers have one of their own.
        loaded = sys.modules.get("mlflow")
        active = None if loaded is None else loaded.active_run()
        self._run_id = None if active is None else active.info.run_id
        self._is_guest = active is not None

    def _init_env(self) -> None:
        mlflow: Any = self.import_package()
        self._mlflow = mlflow
        if self._is_guest:  # of a run that was started elsewhere, with a store and an experiment of its own
            mlflow.start_run(run_id=self._run_id)
        else:
            self._start_run(mlflow)
        if self._tags is not None:
            mlflow.set_tags(self._tags)
        if self._params is not None:
            mlflow.log_params(self._params)

    def _start_run(self, mlflow: Any) -> None:
        files = self._artifact_location
        if self._tracking_uri is None:
            folder = Path(self.make_folder()).absolute()
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
            files = files or (folder / "mlartifacts").as_uri()
        else:
            print_log(f"MLflow writes to {self._tracking_uri}, which must be up.", "current")
            mlflow.set_tracking_uri(self._tracking_uri)
        name = self._exp_name or "Default"
        if mlflow.get_experiment_by_name(name) is None:
            mlflow.create_experiment(name, artifact_location=files)
        mlflow.set_experiment(name)
        run = mlflow.start_run(run_id=self._run_id, run_name=self._run_name)
        self._run_id = run.info.run_id

    def _experiment(self) -> Any:
        return self._mlflow

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write its values as parameters, and its text."""
        self.open()
        tree = as_dict(config)
        self._work_dir = tree.get("work_dir")
        keys = self._tracked_config_keys
        self._mlflow.log_params(flatten(tree if keys is None else {key: tree[key] for key in keys}))
        self._mlflow.log_text(config.pretty_text, "config.py")

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture as ``{name}_{step}.png``."""
        self.open()
        self._mlflow.log_image(as_picture(name, image), f"{name.removesuffix('.png')}_{step}.png")

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """All of them in one call."""
        self._mlflow.log_metrics(numbers, step)

    def _close(self) -> None:
        if self._work_dir is not None:
            top, own = Path(self._work_dir), Path(str(self._save_dir)) / "mlartifacts"
            for file in files_with_suffix(top, self._artifact_suffix, recursive=True):
                if own not in file.parents:
                    self._mlflow.log_artifact(str(file), str(file.parent.relative_to(top)).removeprefix(".") or None)
        if not self._is_guest:
            self._mlflow.end_run()
