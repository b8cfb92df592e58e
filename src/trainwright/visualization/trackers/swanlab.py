"""SwanLab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainwright.registry import VISBACKENDS
from trainwright.visualization.trackers.base import Tracker, as_dict, as_picture, as_plain, flatten


# SwanLab's own class for MMEngine is spelled with a small l.
@VISBACKENDS.register_module(name=["SwanLabVisBackend", "SwanlabVisBackend"])
class SwanLabVisBackend(Tracker):
    """A run of SwanLab.

    Args:
        save_dir: where the package keeps its files.
        init_kwargs: arguments of ``swanlab.init``.
    """

    package = "swanlab"
    needs_folder = False

    def __init__(self, save_dir: str | None = None, init_kwargs: dict[str, Any] | None = None) -> None:
        super().__init__(save_dir)
        self._init_kwargs = dict(init_kwargs or {})
        self._goes_on: str | None = None

    def _init_env(self) -> None:
        self._swanlab: Any = self.import_package()
        if self._save_dir is not None:
            self._init_kwargs.setdefault("log_dir", self.make_folder())
        self._run = self._swanlab.init(**self._init_kwargs)

    def _experiment(self) -> Any:
        return self._swanlab

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config, one entry for each value."""
        self.open()
        self._run.config.update(flatten(as_plain(as_dict(config))))

    def add_image(self, name: str, image: Any, step: int = 0, **kwargs: Any) -> None:
        """Write a picture."""
        self.open()
        self._run.log({name: self._swanlab.Image(as_picture(name, image))}, step=step)

    def log_numbers(self, numbers: dict[str, float], step: int) -> None:
        """All of them in one call."""
        self._run.log(numbers, step=step)

    def _close(self) -> None:
        self._go_on({"id": self._run.id})
        self._run.finish()

    def _identity(self) -> dict[str, Any] | None:
        if self._env_initialized:
            return {"id": self._run.id}
        return {"id": self._goes_on} if self._goes_on else None

    def _go_on(self, state: Mapping[str, Any]) -> None:
        self._goes_on = state["id"]
        self._init_kwargs |= {"id": self._goes_on, "resume": "allow"}
