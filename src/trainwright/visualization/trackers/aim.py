"""Aim."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import Tracker, as_dict, as_picture, as_plain


@VISBACKENDS.register_module()
class AimVisBackend(Tracker):
    """A run of Aim, in the repository of the working folder unless ``init_kwargs`` names another. What is written again
    at the same step replaces what was there.

    Args:
        save_dir: its last two folders name the experiment.
        init_kwargs: arguments of ``aim.Run``.
    """

    package = "aim"
    needs_folder = False
    cuts = "written over"

    def __init__(self, save_dir: str | None = None, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})

    def _init_env(self) -> None:
        self._aim: Any = self.import_package()
        if self._save_dir is not None:
            name = "_".join(Path(self._save_dir).parts[-2:])
        else:
            name = datetime.now().strftime("%Y%m%d_%H%M%S")
        self._init_kwargs.setdefault("experiment", name)
        self._aim_run = self._aim.Run(**self._init_kwargs)

    def _experiment(self) -> Any:
        return self._aim_run

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config as hyperparameters."""
        self.open()
        self._aim_run["hparams"] = as_plain(as_dict(config))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture."""
        self.open()
        self._aim_run.track(name=name, value=self._aim.Image(as_picture(name, image)), step=step)

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """One point of one curve each."""
        for name, value in numbers.items():
            self._aim_run.track(name=name, value=float(value), step=step)  # a curve keeps the type of its first value

    def _close(self) -> None:
        self._init_kwargs["run_hash"] = self._aim_run.hash  # what is written after this goes on with the same run
        self._aim_run.close()

    def _identity(self) -> dict[str, Any] | None:
        run_hash = self._aim_run.hash if self._env_initialized else self._init_kwargs.get("run_hash")
        return None if run_hash is None else {"run_hash": run_hash}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._init_kwargs.setdefault("run_hash", state["run_hash"])

    def discard(self, state: Mapping[str, Any]) -> bool:
        """Delete the run."""
        repository = self.import_package().Repo.from_path(self._init_kwargs.get("repo") or ".")
        return bool(repository.delete_run(state["run_hash"]))
