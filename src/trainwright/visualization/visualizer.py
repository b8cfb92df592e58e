"""The one place a run sends what it wants to show; the backends write it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.instances import ManagerMixin
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.dist import is_main_process
from trainwright.registry import VISBACKENDS, VISUALIZERS
from trainwright.visualization.vis_backend import BaseVisBackend

Backend = BaseVisBackend | Mapping[str, Any]


@VISUALIZERS.register_module()
class Visualizer(ManagerMixin):
    """Hands scalars, the config and pictures to every backend. Only the main process writes.

    Args:
        name: name of this instance, by which ``get_instance(name)`` finds it.
        vis_backends: backends or their configs, one or a list. A config may hold a ``name`` to find the backend by
            (its class's name otherwise), and gets ``save_dir`` unless it has its own.
        save_dir: folder of the run. Backends get ``save_dir/vis_data``; one that needs a folder and has none is left
            out, with a warning in the log, so that a visualizer can also be made just to draw.
    """

    def __init__(
        self,
        name: str = "visualizer",
        *,
        vis_backends: Backend | Sequence[Backend] | None = None,
        save_dir: str | None = None,
    ) -> None:
        super().__init__(name)
        self.dataset_meta: dict[str, Any] | None = None
        self._vis_backends: dict[str, BaseVisBackend] = {}
        folder = None if save_dir is None else str(Path(save_dir) / "vis_data")
        if isinstance(vis_backends, (Mapping, BaseVisBackend)):
            vis_backends = [vis_backends]
        for entry in vis_backends or []:
            self._add_backend(entry, folder)

    def _add_backend(self, entry: Backend, folder: str | None) -> None:
        name = None
        if isinstance(entry, Mapping):
            spec = dict(entry)
            name = spec.pop("name", None)
            spec.setdefault("save_dir", folder)
            entry = VISBACKENDS.build(spec)
        if not isinstance(entry, BaseVisBackend):
            raise ConfigTypeError(
                f"vis_backends takes configs and BaseVisBackend objects, not a {type(entry).__name__}"
            )
        name = name or type(entry).__name__
        if entry.needs_folder and entry.save_dir is None:
            print_log(f"{name} is not used: it has no folder to write to (save_dir).", "current", logging.WARNING)
            return
        if name in self._vis_backends:
            raise ConfigError(f"two backends are called {name!r}: give one of them another name with name='...'")
        self._vis_backends[name] = entry

    def get_backend(self, name: str) -> BaseVisBackend:
        """The backend of that name."""
        if name not in self._vis_backends:
            known = ", ".join(self._vis_backends) or "none"
            raise ConfigError(f"no backend {name!r} (there are: {known}).{did_you_mean(name, self._vis_backends)}")
        return self._vis_backends[name]

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config of the run."""
        self._each(lambda backend: backend.add_config(config, **kwargs))

    def add_image(self, name: str, image: Any, step: int = 0) -> None:
        """Write a picture, (H, W, 3) RGB or (H, W) grey, 8-bit."""
        self._each(lambda backend: backend.add_image(name, image, step))

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write one number. Synchronises with the device when ``value`` lies on one."""
        self._each(lambda backend: backend.add_scalar(name, value, step, **kwargs))

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step; ``file_path`` names a further file for backends that write files."""
        self._each(lambda backend: backend.add_scalars(scalar_dict, step, file_path, **kwargs))

    def close(self) -> None:
        """Close every backend."""
        self._each(lambda backend: backend.close())

    def _each(self, call: Callable[[BaseVisBackend], None]) -> None:
        if is_main_process():
            for backend in self._vis_backends.values():
                call(backend)
