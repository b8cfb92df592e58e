"""Neptune."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any
from uuid import uuid4

import numpy as np

from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import Tracker, as_picture, finite


@VISBACKENDS.register_module()
class NeptuneVisBackend(Tracker):
    """A run of Neptune; offline when nothing else is said. It has no NaN and infinities: those are left to the JSON
    lines.

    Args:
        save_dir: not used.
        init_kwargs: arguments of ``neptune.init_run``, ``project`` and ``api_token`` among them.
    """

    package = "neptune"
    step_is_apart = True
    needs_folder = False

    def __init__(self, save_dir: str | None = None, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(save_dir)
        self._init_kwargs = {"mode": "offline"} if init_kwargs is None else dict(init_kwargs)
        self._is_new = True
        if "with_id" not in self._init_kwargs:
            # By this, what is written after `close` goes on with the same run.
            self._init_kwargs.setdefault("custom_run_id", uuid4().hex)

    def _init_env(self) -> None:
        neptune: Any = self.import_package()
        self._file: Any = import_module("neptune.types").File
        self._neptune = neptune.init_run(**self._init_kwargs)
        self._is_new = False

    def _experiment(self) -> Any:
        return self._neptune

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config as a file."""
        self.open()
        self._neptune["config"].upload(self._file.from_content(config.pretty_text))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture."""
        self.open()
        values = as_picture(name, image).astype(np.float32) / 255
        self._neptune["images"].append(self._file.as_image(values), name=name, step=step)

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """One point of one series each."""
        for name, value in finite(numbers).items():
            self._neptune[name].append(value, step=step)

    def _close(self) -> None:
        self._neptune.stop()

    def _identity(self) -> dict[str, Any] | None:
        is_new = not self._env_initialized and self._is_new
        names = ("with_id", "custom_run_id")
        return None if is_new else {name: self._init_kwargs[name] for name in names if name in self._init_kwargs}

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._is_new = False
        if "with_id" not in self._init_kwargs:
            self._init_kwargs |= {name: value for name, value in state.items() if name != "folder"}
