"""The one place a run sends what it wants to show; the backends write it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from trainwright.base.errors import ConfigError, ConfigTypeError, NameTakenError
from trainwright.base.instances import ManagerMixin
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.dist import is_main_process
from trainwright.io import atomic_write_text
from trainwright.registry import VISBACKENDS, VISUALIZERS
from trainwright.visualization.drawing import Drawing
from trainwright.visualization.guard import WriterGuard
from trainwright.visualization.scalars import RESUMED, Cut
from trainwright.visualization.trackers.base import Tracker
from trainwright.visualization.vis_backend import BaseVisBackend, LocalVisBackend
from trainwright.visualization.window import OpenCV, Window, wait_continue

Backend = BaseVisBackend | Mapping[str, Any]
VisBackendsType = list[Any] | Mapping[str, Any] | BaseVisBackend | None

cv2: Any = OpenCV()


@VISUALIZERS.register_module()
class Visualizer(Drawing, ManagerMixin):
    """Draws, and hands scalars, the config and pictures to every backend. Every process may draw, only the main one
    writes and shows.

    A subclass says in ``add_datasample`` how a sample of its task is drawn. LocalVisBackend is called directly, and its
    errors end the run: its files are what a run is judged by. Any other backend that raises or hangs is reported once
    and then left out.

    Args:
        name: name of this instance, by which ``get_instance(name)`` finds it.
        image: a picture to draw on, as for ``set_image``.
        vis_backends: backends or their configs, one or a list. A config may hold a ``name`` to find the backend by
            (its class's name otherwise), and gets ``save_dir`` unless it has its own.
        save_dir: folder of the run. Backends get ``save_dir/vis_data``; one that needs a folder and has none is left
            out, with a warning in the log, so that a visualizer can also be made just to draw.
        fig_save_cfg: arguments of the figure that is drawn on; without a frame by default.
        fig_show_cfg: arguments of the figure in the window; without a frame by default.
        writer_timeout_s: how long a call of a backend may take before it counts as hanging.
    """

    def __init__(
        self,
        name: str = "visualizer",
        image: np.ndarray | None = None,
        vis_backends: Backend | Sequence[Backend] | None = None,
        save_dir: str | None = None,
        fig_save_cfg: dict[str, Any] | None = None,
        fig_show_cfg: dict[str, Any] | None = None,
        *,
        writer_timeout_s: float = 120.0,
    ) -> None:
        ManagerMixin.__init__(self, name)
        self._dataset_meta: dict[str, Any] | None = None
        self._vis_backends: dict[str, BaseVisBackend] = {}
        self._guards: dict[str, WriterGuard] = {}
        self._configs: dict[str, Callable[[], None]] = {}
        self.writer_timeout_s = writer_timeout_s
        self.fig_show_cfg = {"frameon": False} if fig_show_cfg is None else fig_show_cfg
        self._window: Window | None = None
        folder = None if save_dir is None else str(Path(save_dir) / "vis_data")
        if isinstance(vis_backends, (Mapping, BaseVisBackend)):
            vis_backends = [vis_backends]
        for entry in _checked(vis_backends or []):
            self._add_backend(entry, folder)
        Drawing.__init__(self, image, fig_save_cfg)

    def _add_backend(self, entry: Any, folder: str | None) -> None:
        name = None
        if isinstance(entry, Mapping):
            spec = dict(entry)
            name = spec.pop("name", None)
            spec.setdefault("save_dir", folder)
            entry = VISBACKENDS.build(spec)
        name = name or type(entry).__name__
        if _needs_folder(entry) and getattr(entry, "_save_dir", None) is None:
            print_log(f"{name} is not used: it has no folder to write to (save_dir).", "current", logging.WARNING)
            return
        if name in self._vis_backends:
            raise NameTakenError(f"two backends are called {name!r}: give one of them another name with name='...'")
        self._vis_backends[name] = entry

    @property
    def dataset_meta(self) -> dict[str, Any] | None:
        """``metainfo`` of the dataset that is looked at: class names, palette and the like."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any] | None) -> None:
        self._dataset_meta = dataset_meta

    def get_backend(self, name: str) -> BaseVisBackend:
        """The backend of that name."""
        if name not in self._vis_backends:
            known = ", ".join(self._vis_backends) or "none"
            raise ConfigError(f"no backend {name!r} (there are: {known}).{did_you_mean(name, self._vis_backends)}")
        return self._vis_backends[name]

    def show(
        self,
        drawn_img: np.ndarray | None = None,
        win_name: str = "image",
        wait_time: float = 0.0,
        continue_key: str = " ",
        backend: str = "matplotlib",
    ) -> Any:
        """Show ``drawn_img``, or what was drawn, in a window until ``continue_key`` is pressed or ``wait_time`` seconds
        are over (0: no limit).

        Without a screen it returns at once, with a warning the first time. ``backend`` is "matplotlib" or "cv2".
        """
        if not is_main_process():
            return None
        if backend not in ("matplotlib", "cv2"):
            raise ConfigError(f"backend of show must be 'matplotlib' or 'cv2', but got {backend!r}.")
        if self._window is None:
            self._window = Window(self.fig_show_cfg, str(id(self)))
        image = self.get_image() if drawn_img is None else drawn_img
        if backend == "cv2":
            return self._window.show(win_name, lambda window: window.by_cv2(image, win_name, wait_time, cv2))
        wait = partial(wait_continue, timeout=wait_time, continue_key=continue_key)
        return self._window.show(win_name, lambda window: window.by_matplotlib(image, win_name, wait))

    @property
    def manager(self) -> Any:
        """matplotlib's manager of the window, once something was shown."""
        if self._window is None or self._window.manager is None:
            raise AttributeError(f"{type(self).__name__} has shown nothing in a window of matplotlib")
        return self._window.manager

    def add_config(self, config: Any, **kwargs: Any) -> None:
        """Write the config of the run. To trackers it goes with the first thing that is written: until then nobody
        knows whether this goes on with a run that they have."""
        if not is_main_process():
            return
        for name, backend in self._vis_backends.items():
            call = partial(backend.add_config, config, **kwargs)
            if isinstance(backend, Tracker):
                self._configs[name] = call
            else:
                self._one(name, backend, "add_config", call)

    def add_graph(self, model: Any, data_batch: Any, **kwargs: Any) -> None:
        """Write, or watch, the model; ``data_batch`` is one that it takes."""
        self._each("add_graph", model, data_batch, **kwargs)

    def add_image(self, name: str, image: Any, step: int = 0) -> None:
        """Write a picture, (H, W, 3) RGB or (H, W) grey, 8-bit."""
        self._each("add_image", name, image, step)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs: Any) -> None:
        """Write one number. Synchronises with the device when ``value`` lies on one."""
        self._each("add_scalar", name, value, step, **kwargs)

    def add_scalars(
        self, scalar_dict: Mapping[str, Any], step: int = 0, file_path: str | None = None, **kwargs: Any
    ) -> None:
        """Write the numbers of one step; ``file_path`` names a further file for backends that write files."""
        self._each("add_scalars", scalar_dict, step, file_path, **kwargs)

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: Any = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: int = 0,
        step: int = 0,
    ) -> None:
        """Draw one sample with its labels and predictions, and write or show it. A subclass does; here is nothing."""

    def close(self) -> None:
        """Close every backend."""
        self._each("close")
        for guard in self._guards.values():
            guard.end()

    def _each(self, what: str, *args: Any, **kwargs: Any) -> None:
        if not is_main_process():
            return
        for name, backend in self._vis_backends.items():
            if name in self._configs and what != "close":
                self._one(name, backend, "add_config", self._configs.pop(name))
            self._one(name, backend, what, partial(getattr(backend, what), *args, **kwargs))

    def _one(self, name: str, backend: BaseVisBackend, what: str, call: Callable[[], None]) -> None:
        if isinstance(backend, LocalVisBackend):
            call()
            return
        if name not in self._guards:
            self._guards[name] = WriterGuard(name, self.writer_timeout_s)
        self._guards[name].call(what, call)

    # -- a run that is taken up again ----------------------------------------------------------------------------------

    def tracker_states(self) -> dict[str, Any]:
        """What a checkpoint keeps of each tracker, so that a resumed run goes on with the same run of it."""
        states: dict[str, Any] = {}
        if not is_main_process():
            return states

        def ask(name: str, tracker: Tracker) -> None:
            states[name] = tracker.run_state()

        for name, backend in self._vis_backends.items():
            if isinstance(backend, Tracker):
                self._one(name, backend, "run_state", partial(ask, name, backend))
        return {name: state for name, state in states.items() if state is not None}

    def go_on(
        self, states: Mapping[str, Any], iteration: int, val_due: bool, work_dir: str, parts: Sequence[str]
    ) -> None:
        """Training is taken up after ``iteration``: what was written for later ones, and with ``val_due`` by the
        validation at it, is cut, as far as a tracker can.

        ``parts`` are the log folders so far, below ``work_dir``. When this visualizer's own is among them training went
        back in time; else it was resumed. Trackers go on with the run of ``states`` when a part is there; a training
        that is resumed in another work folder is another run.
        """
        if not is_main_process():
            return
        local = next((it for it in self._vis_backends.values() if isinstance(it, LocalVisBackend)), None)
        own = None if local is None or local.save_dir is None else local.folder
        folders = [Path(work_dir) / part / "vis_data" for part in parts]
        found = [folder for folder in folders if folder.is_dir()]
        if not found:
            return
        if own is not None and own.resolve() not in [folder.resolve() for folder in found]:
            text = json.dumps({"iter": iteration, "val_due": val_due, "parts": list(parts)})
            own.mkdir(parents=True, exist_ok=True)
            atomic_write_text(own / RESUMED, text + "\n")
        cut = Cut.of([folder / "scalars.json" for folder in found], iteration, val_due)
        for name, backend in self._vis_backends.items():
            if isinstance(backend, Tracker) and name in states:
                self._one(name, backend, "take_up", partial(backend.take_up, states[name], cut))


def _checked(entries: Any) -> Any:
    is_list = isinstance(entries, Sequence) and not isinstance(entries, str)
    wrong = [entry for entry in entries if not isinstance(entry, (Mapping, BaseVisBackend))] if is_list else [entries]
    if not wrong:
        return entries
    raise ConfigTypeError(f"vis_backends takes configs and BaseVisBackend objects, not a {type(wrong[0]).__name__}")


def _needs_folder(backend: Any) -> bool:
    asked = signature(type(backend).__init__).parameters.get("save_dir")
    return getattr(backend, "needs_folder", True) and asked is not None and asked.default is asked.empty
