"""Showing a picture in a window, where there is a screen."""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from trainwright.base.errors import MissingExtraError, NoScreenError
from trainwright.base.logs import print_log
from trainwright.base.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Backends of matplotlib that only write files.
_NO_WINDOW = ("agg", "cairo", "pdf", "pgf", "ps", "svg", "template")
_ADVICE = "there is no screen to show it on. Save it instead (add_image, or out_dir of the visualization hook)."


class Window:
    """One window, opened when something is first shown. On a machine without a screen it says so once, and no more."""

    def __init__(self, settings: dict[str, Any], name: str) -> None:
        self.settings = settings
        self.name = name
        self.manager: Any = None
        self._told = False

    def show(self, title: str, shown: Callable[[Window], Any]) -> Any:
        """What ``shown`` gives: one of the functions below, which shows something in this window."""
        if self._told:
            return None
        try:
            return shown(self)
        except ImportError as error:  # matplotlib's way to say that the screen cannot be reached
            if not isinstance(error, NoScreenError) and (
                error.name is not None or isinstance(error, MissingExtraError)
            ):
                raise
            self.manager, self._told = None, True
            print_log(f"{title!r} is not shown, {_ADVICE} ({error})", "current", logging.WARNING)
            return None

    def by_matplotlib(self, image: np.ndarray, title: str, wait: Callable[[Figure], Any]) -> Figure | None:
        """Show ``image`` and ``wait``. A notebook gets the figure."""
        require("matplotlib", "vis", "showing pictures")
        from matplotlib import pyplot
        from matplotlib.figure import Figure

        if self.manager is None:
            self.manager = pyplot.new_figure_manager(num=1, FigureClass=Figure, **self.settings)
            self.manager.canvas.mpl_connect("close_event", self._forget)
        self.manager.set_window_title(title)
        figure: Figure = self.manager.canvas.figure
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1)
        figure.clear()
        axes = figure.add_subplot()
        axes.axis(False)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        figure.canvas.draw()
        if "inline" in pyplot.get_backend():
            return figure  # a notebook shows what a cell returns
        wait(figure)
        return None

    def by_cv2(self, image: np.ndarray, title: str, wait_time: float, cv2: Any) -> None:
        """Show ``image`` by OpenCV, which takes blue, green, red."""
        cv2.namedWindow(winname=self.name)  # one window, whose title changes
        cv2.setWindowTitle(self.name, title)
        is_grey = image.ndim == 2 or (image[..., 0] == image[..., 2]).all()
        cv2.imshow(self.name, image if is_grey else image[..., ::-1])
        cv2.waitKey(math.ceil(wait_time * 1000))

    def _forget(self, event: Any) -> None:
        self.manager = None  # closed by hand: the next picture opens another window


class OpenCV:
    """The package, where there is a screen: without one it would end the process."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        _must_have_screen()
        return getattr(require("cv2", None, "show(backend='cv2')", "pip install opencv-python"), name)


def _must_have_screen() -> None:
    why = _no_screen()
    if why is not None:
        raise NoScreenError(why)


def _no_screen() -> str | None:
    """Why nothing can be shown; None when it can."""
    require("matplotlib", "vis", "showing pictures")
    from matplotlib import pyplot

    backend = pyplot.get_backend()
    if backend.lower() in _NO_WINDOW:
        return f"matplotlib's backend is {backend!r}"
    if "inline" not in backend and sys.platform.startswith("linux"):
        return None if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") else "DISPLAY is not set"
    return None


def wait_continue(figure: Any, timeout: float = 0, continue_key: str = " ") -> int:
    """Wait until ``continue_key`` is pressed or ``timeout`` seconds are over (0: no limit) and return 0, or until the
    window is closed and return 1. NoScreenError where there is nothing to press it on.
    """
    _must_have_screen()
    from matplotlib.backend_bases import CloseEvent

    if figure.canvas.manager is not None:
        figure.canvas.manager.show()
    seen: list[Any] = []

    def note(event: Any) -> None:
        seen.append(event)
        figure.canvas.stop_event_loop()

    while True:
        seen.clear()
        wires = [figure.canvas.mpl_connect(name, note) for name in ("key_press_event", "close_event")]
        try:
            figure.canvas.start_event_loop(timeout)
        finally:
            for wire in wires:
                figure.canvas.mpl_disconnect(wire)
        if any(isinstance(event, CloseEvent) for event in seen):  # some toolkits send two events at once
            return 1
        if not seen or seen[-1].key == continue_key:
            return 0
