"""ClearML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import (
    Suffixes,
    Tracker,
    as_dict,
    as_picture,
    as_plain,
    files_with_suffix,
    finite,
)


@VISBACKENDS.register_module()
class ClearMLVisBackend(Tracker):
    """A task of ClearML, which would show 0 for NaN and infinities: those are left to the JSON lines.

    Args:
        save_dir: not used.
        init_kwargs: arguments of ``clearml.Task.init``.
        artifact_suffix: files in the work folder that end so are uploaded when the task is closed.
    """

    package = "clearml"
    step_is_apart = True
    needs_folder = False

    def __init__(
        self,
        save_dir: str | None = None,
        init_kwargs: dict[str, Any] | None = None,
        artifact_suffix: Suffixes = (".py", ".pth"),
    ) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})
        self._artifact_suffix = artifact_suffix
        self._work_dir: str | None = None
        self._goes_on: str | None = None

    def _init_env(self) -> None:
        self._clearml: Any = self.import_package()
        self._clearml.Task.set_random_seed(None)  # it would seed python, numpy and torch
        self._task = self._clearml.Task.init(**self._init_kwargs)
        self._logger = self._task.get_logger()

    def _experiment(self) -> Any:
        return self._clearml

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config."""
        self.open()
        tree = as_dict(config)
        self._work_dir = tree.get("work_dir")
        self._task.connect_configuration(as_plain(tree))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture."""
        self.open()
        self._logger.report_image(title=name, series=name, iteration=step, image=as_picture(name, image))

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """One point of one curve each."""
        for name, value in finite(numbers).items():
            self._logger.report_scalar(title=name, series=name, value=value, iteration=step)

    def _close(self) -> None:
        if self._work_dir is not None and Path(self._work_dir).is_dir():
            for file in files_with_suffix(Path(self._work_dir), self._artifact_suffix, recursive=False):
                self._task.upload_artifact(file.name, str(file))
        self._go_on({"id": self._task.id})
        self._task.close()

    def _identity(self) -> dict[str, Any] | None:
        if self._env_initialized:
            return {"id": self._task.id}
        return {"id": self._goes_on} if self._goes_on else None

    def _go_on(self, state: Mapping[str, Any]) -> None:
        # 0: the steps are ours; by default those of the task so far would be added to them.
        self._goes_on = state["id"]
        self._init_kwargs |= {"reuse_last_task_id": self._goes_on, "continue_last_task": 0}
