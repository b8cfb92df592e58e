import logging
import sys
import types
from unittest import mock

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.backend_bases import CloseEvent, FigureManagerBase, KeyEvent

from trainwright.base.errors import ConfigError, MissingExtraError
from trainwright.base.logs import MMLogger
from trainwright.visualization import Visualizer, window

IMAGE = np.full((8, 10, 3), 200, np.uint8)


@pytest.fixture
def warnings_logged():
    """What is logged."""
    seen = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


@pytest.fixture
def screen(monkeypatch):
    """Pretend that there is a screen; gives the titles of the windows."""
    titles = []
    monkeypatch.setattr(window, "_no_screen", lambda: None)
    monkeypatch.setattr(FigureManagerBase, "set_window_title", lambda self, title: titles.append(title))
    monkeypatch.setattr(FigureManagerBase, "show", lambda self: titles.append("shown"))
    yield titles
    pyplot.close("all")


def press(monkeypatch, figure_events):
    """Let each wait for an event end with the next of ``figure_events``, made from the canvas."""
    events = iter(figure_events)

    def start_event_loop(self, timeout=0):
        event = next(events)(self)
        if event is not None:
            self.callbacks.process(event.name, event)

    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.start_event_loop", start_event_loop)
    return events


def key(name):
    return lambda canvas: KeyEvent("key_press_event", canvas, name)


def test_without_a_screen_it_says_so_once_and_goes_on(warnings_logged):
    visualizer = Visualizer(image=IMAGE)
    assert visualizer.show() is None
    assert visualizer.show(IMAGE, win_name="again", wait_time=60.0) is None
    assert warnings_logged == [
        "'image' is not shown, there is no screen to show it on. Save it instead (add_image, or out_dir of the "
        "visualization hook). (matplotlib's backend is 'agg')"
    ]


@pytest.mark.parametrize(
    ("backend", "variables", "platform", "why"),
    [
        ("Agg", {"DISPLAY": ":0"}, "linux", "matplotlib's backend is 'Agg'"),
        ("qtagg", {}, "linux", "DISPLAY is not set"),
        ("qtagg", {"DISPLAY": ":0"}, "linux", None),
        ("tkagg", {"WAYLAND_DISPLAY": "w"}, "linux", None),
        ("macosx", {}, "darwin", None),
        ("module://matplotlib_inline.backend_inline", {}, "linux", None),
    ],
)
def test_what_counts_as_a_screen(monkeypatch, backend, variables, platform, why):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pyplot, "get_backend", lambda: backend)
    monkeypatch.setattr(sys, "platform", platform)
    assert window._no_screen() == why


def test_a_screen_that_cannot_be_reached_is_none(screen, monkeypatch, warnings_logged):
    def refuse(**kwargs):
        raise ImportError("Cannot load backend 'QtAgg', as 'headless' is currently running")

    monkeypatch.setattr(pyplot, "new_figure_manager", refuse)
    Visualizer().show(IMAGE)
    assert len(warnings_logged) == 1
    assert "(Cannot load backend 'QtAgg', as 'headless' is currently running)" in warnings_logged[0]


def test_a_window_stays_until_the_key(screen, monkeypatch):
    left = press(monkeypatch, [key("x"), key(" "), key("q"), lambda canvas: None])
    visualizer = Visualizer(image=IMAGE)
    visualizer.show(win_name="first")
    manager = visualizer._window.manager
    assert manager.canvas.figure.axes[0].images[0].get_array().shape == (8, 10, 3)
    visualizer.show(IMAGE[..., 0], win_name="second", continue_key="q")
    visualizer.show(IMAGE, win_name="third", wait_time=0.01)
    assert next(left, "no more") == "no more"
    assert screen == ["Figure 1", "first", "shown", "second", "shown", "third", "shown"]
    assert visualizer._window.manager is manager
    assert not manager.canvas.figure.get_frameon()


def test_a_closed_window_ends_the_wait_and_the_next_opens_another(screen, monkeypatch):
    press(monkeypatch, [lambda canvas: CloseEvent("close_event", canvas), key(" ")])
    visualizer = Visualizer(image=IMAGE)
    visualizer.show()
    assert visualizer._window.manager is None
    visualizer.show()
    assert visualizer._window.manager is not None


def test_wait_continue_tells_how_it_ended(screen, monkeypatch):
    press(monkeypatch, [lambda canvas: CloseEvent("close_event", canvas), key("x"), key("x"), lambda canvas: None])
    figure = pyplot.figure()
    assert [window.wait_continue(figure), window.wait_continue(figure, continue_key="x")] == [1, 0]
    assert window.wait_continue(figure, timeout=0.1) == 0


def test_a_notebook_gets_the_figure(screen, monkeypatch):
    visualizer = Visualizer(image=IMAGE)
    monkeypatch.setattr(pyplot, "get_backend", lambda: "module://matplotlib_inline.backend_inline")
    assert visualizer.show() is visualizer._window.manager.canvas.figure


def test_cv2_shows_what_it_takes_for_blue_green_red(screen, monkeypatch):
    calls = []
    cv2 = types.ModuleType("cv2")
    cv2.namedWindow = lambda winname: calls.append(winname)
    cv2.setWindowTitle = lambda name, title: calls.append(title)
    cv2.imshow = lambda name, image: calls.append(image[0, 0].tolist())
    cv2.waitKey = calls.append
    monkeypatch.setitem(sys.modules, "cv2", cv2)
    visualizer = Visualizer()
    visualizer.show(np.full((2, 2, 3), (1, 2, 3), np.uint8), "title", wait_time=0.0015, backend="cv2")
    assert calls[1:] == ["title", [3, 2, 1], 2]
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"show\(backend='cv2'\) needs .* pip install opencv-python"):
        visualizer.show(IMAGE, backend="cv2")


def test_a_grey_picture_goes_to_cv2_as_it_is_and_not_without_a_screen(screen, monkeypatch, warnings_logged):
    shown = []
    cv2 = mock.Mock(imshow=lambda _, image: shown.append(image))
    monkeypatch.setattr("trainwright.visualization.visualizer.cv2", cv2)
    Visualizer().show(IMAGE, backend="cv2")
    assert shown[0] is IMAGE
    monkeypatch.undo()
    visualizer = Visualizer()
    assert [visualizer.show(IMAGE, backend="cv2"), visualizer.show(IMAGE)] == [None, None]
    assert len(warnings_logged) == 1
    assert not hasattr(visualizer, "manager")


def test_another_way_to_show_is_refused():
    with pytest.raises(ConfigError, match="backend of show must be 'matplotlib' or 'cv2', but got 'tk'"):
        Visualizer().show(IMAGE, backend="tk")


def test_only_the_main_process_shows(monkeypatch):
    monkeypatch.setattr("trainwright.visualization.visualizer.is_main_process", lambda: False)
    visualizer = Visualizer(image=IMAGE)
    assert visualizer.show() is None
    assert visualizer._window is None
