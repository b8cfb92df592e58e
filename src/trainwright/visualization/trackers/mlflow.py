"""MLflow."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from trainwright.base.logs import print_log
from trainwright.registry import VISBACKENDS
from trainwright.visualization.scalars import Cut
from trainwright.visualization.trackers.base import Suffixes, Tracker, as_dict, as_picture, files_with_suffix, flatten

_MOST_AT_ONCE = 100
_STORE = "mlflow.store.tracking.sqlalchemy_store"


@VISBACKENDS.register_module()
class MLflowVisBackend(Tracker):
    """A run of MLflow; the one that is active where this object is made, or a new one. Characters that MLflow takes in
    no name become "_". Where points were to be cut, which it cannot, the tag ``cut_after`` has the iterations.

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
    step_is_apart = True
    cuts = "marked by a tag"

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
        found = None if active is None else active.info.run_id
        self._run_id = found if isinstance(found, str) else None
        self._is_guest = self._run_id is not None
        self._goes_on = False

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
            self._log_params(self._params)

    def _start_run(self, mlflow: Any) -> None:
        files = self._artifact_location
        if self._tracking_uri is None:
            folder = Path(self.make_folder()).absolute()
            store = f"sqlite:///{folder / 'mlflow.db'}"
            mlflow.set_tracking_uri(store)
            files = files or (folder / "mlartifacts").as_uri()
            has_stores = _STORE in sys.modules or hasattr(mlflow, "__path__")  # a stand-in of a test has none
            if has_stores and not (folder / "mlflow.db").exists():  # else "Default" would be in the working folder
                import_module(_STORE).SqlAlchemyStore(store, files)
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
        self._log_params(flatten(tree if keys is None else {key: tree[key] for key in keys}))
        self._mlflow.log_text(config.pretty_text, "config.py")

    def _log_params(self, params: Mapping[str, Any]) -> None:
        """Those that are new: a run that is continued has its own, and MLflow changes none."""
        there = self._mlflow.get_run(self._run_id).data.params if self._goes_on else {}
        new = [(name, value) for name, value in _named(params).items() if name not in there]
        for start in range(0, len(new), _MOST_AT_ONCE):
            self._mlflow.log_params(dict(new[start : start + _MOST_AT_ONCE]))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture as ``{name}_{step}.png``."""
        self.open()
        self._mlflow.log_image(as_picture(name, image), f"{name.removesuffix('.png')}_{step}.png")

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """All of them in one call."""
        self._mlflow.log_metrics(_named(numbers), step)

    def _close(self) -> None:
        if self._work_dir is not None:
            top, own = Path(self._work_dir), Path(str(self._save_dir)) / "mlartifacts"
            for file in files_with_suffix(top, self._artifact_suffix, recursive=True):
                if own not in file.parents:
                    self._mlflow.log_artifact(str(file), str(file.parent.relative_to(top)).removeprefix(".") or None)
        if not self._is_guest:
            self._goes_on = True
            self._mlflow.end_run()

    def _identity(self) -> dict[str, Any] | None:
        return None if self._run_id is None else {"run_id": self._run_id}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        if not self._is_guest:
            self._run_id, self._goes_on = state["run_id"], True

    def _cut(self, state: Mapping[str, Any], cut: Cut) -> None:
        if cut.dropped:
            self.open()
            earlier = self._mlflow.get_run(self._run_id).data.tags.get("cut_after")
            self._mlflow.set_tag("cut_after", f"{earlier}, {cut.iteration}" if earlier else str(cut.iteration))

    def discard(self, state: Mapping[str, Any]) -> bool:
        """Delete the run."""
        mlflow: Any = self.import_package()
        store = self._tracking_uri or f"sqlite:///{Path(str(self._save_dir)).absolute() / 'mlflow.db'}"
        mlflow.MlflowClient(store).delete_run(state["run_id"])  # opening this writer would begin another run
        return True


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"[^\w\-. :/]", "_", name): value for name, value in values.items()}
