"""Visualizer: what it draws, refuses and warns of, and how it hands on to backends of any class."""

import copy
from unittest import mock

import numpy as np
import pytest
import torch

pytestmark = [
    pytest.mark.usefixtures("mmengine"),
    pytest.mark.filterwarnings("ignore:.*interpolated.*:UserWarning"),
]

NAMES = ("first", "second")


class NotesOfVisualizers:
    """A backend that derives from nothing, and notes what is called."""

    def __init__(self, save_dir=None):
        self._save_dir = save_dir
        self.seen = []

    @property
    def experiment(self):
        return self


for _name in ("add_config", "add_graph", "add_image", "add_scalar", "add_scalars", "close"):
    setattr(NotesOfVisualizers, _name, lambda self, *args, _name=_name, **kwargs: self.seen.append(_name))


@pytest.fixture
def backends():
    """The configs of two such backends."""
    from mmengine.registry import VISBACKENDS

    VISBACKENDS.register_module(module=NotesOfVisualizers, force=True)
    yield [{"type": "NotesOfVisualizers", "name": name, "save_dir": "tmp"} for name in NAMES]
    VISBACKENDS.module_dict.pop("NotesOfVisualizers")


@pytest.fixture
def canvas():
    """A visualizer with a picture of 10 x 10."""
    from mmengine.visualization import Visualizer

    return Visualizer(image=np.random.default_rng(0).integers(0, 256, (10, 10, 3)).astype(np.uint8))


def test_backends(backends, is_peer):
    from mmengine.visualization import Visualizer

    visualizer = Visualizer(vis_backends=copy.deepcopy(backends), save_dir="folder")
    assert len(visualizer._vis_backends) == 2
    for name in NAMES:
        assert isinstance(visualizer.get_backend(name), NotesOfVisualizers)
    visualizer.add_config(mock.Mock())
    visualizer.add_graph(torch.nn.Linear(1, 1), np.zeros((1, 1)))
    visualizer.add_image("img", np.zeros((10, 10, 3)))
    visualizer.add_scalar("map", 0.9)
    visualizer.add_scalars({"map": 0.7, "acc": 0.9})
    visualizer.close()
    expected = ["add_config", "add_graph", "add_image", "add_scalar", "add_scalars", "close"]
    assert [visualizer.get_backend(name).seen for name in NAMES] == [expected] * 2
    for wrong in ([1], 1):
        with pytest.raises(TypeError):
            Visualizer(vis_backends=wrong)
    twice = [{"type": "NotesOfVisualizers", "save_dir": "a"} for _ in range(2)]
    with pytest.raises(RuntimeError):
        Visualizer(vis_backends=twice)
    if not is_peer:  # there it is a warning of Python
        assert Visualizer(vis_backends={"type": "LocalVisBackend"})._vis_backends == {}


def test_instances(backends):
    from mmengine.visualization import Visualizer

    class Derived(Visualizer):
        def __init__(self, name):
            super().__init__(name)

    one = Visualizer.get_instance("mme_visualizer", vis_backends=copy.deepcopy(backends), save_dir="folder")
    assert Visualizer.get_instance("mme_visualizer") is one
    derived = Derived.get_instance("mme_derived_visualizer")
    assert Visualizer.get_current_instance() is Derived.get_current_instance() is derived
    derived.dataset_meta = {"class": "cat"}
    assert derived.dataset_meta["class"] == "cat"


def test_pictures(canvas):
    from mmengine.visualization import Visualizer

    assert canvas.get_image().shape == (10, 10, 3)
    assert (canvas.width, canvas.height) == (10, 10)
    assert canvas.fig_save_cfg == canvas.fig_show_cfg == {"frameon": False}
    with pytest.raises(AssertionError):
        canvas.set_image(None)
    with pytest.raises((AssertionError, AttributeError)):
        Visualizer().get_image()


BOXES = torch.tensor([[1, 1, 2, 2], [1, 2, 2, 2.5]])
ROWS = torch.tensor([[5, 5], [3, 3]])
SHAPE = [[1, 1], [2, 2], [3, 4]]


def _mask(*shape):
    return np.arange(np.prod(shape)).reshape(shape) % 2 == 0


def test_drawing_is_chained(canvas):
    found = (
        canvas.draw_bboxes(torch.tensor([1, 1, 2, 2]))
        .draw_bboxes(torch.tensor([1, 1, 1, 2]))
        .draw_bboxes(BOXES, alpha=0.5, edge_colors=(255, 0, 0), line_styles="-")
        .draw_bboxes(BOXES.numpy())
        .draw_points(ROWS, colors=["g", (255, 255, 0)], marker=".", sizes=[1, 5])
        .draw_texts("text1", positions=torch.tensor([5, 5]), colors=(0, 255, 0))
        .draw_texts(["text1", "text2"], positions=ROWS, colors=[(255, 0, 0), (255, 0, 0)], font_sizes=[1, 2])
        .draw_texts("text1", positions=np.array([5, 5]), bboxes={"facecolor": "r", "alpha": 0.6})
        .draw_lines(x_datas=torch.tensor([1, 5]), y_datas=torch.tensor([2, 6]))
        .draw_lines(ROWS.numpy(), ROWS.numpy(), colors="r", line_styles=["-", "-."], line_widths=[1, 2])
        .draw_circles(np.array([1, 5]), np.array([1]))
        .draw_circles(ROWS, torch.tensor([1, 2]), edge_colors=["g", "r"], line_styles=["-", "-."], line_widths=[1, 2])
        .draw_circles(ROWS, torch.tensor([1, 2]), face_colors=(255, 0, 0), edge_colors=(255, 0, 0))
        .draw_polygons(torch.tensor(SHAPE))
        .draw_polygons([np.array(SHAPE), torch.tensor(SHAPE)], edge_colors=["r", "g"], line_widths=[2, 1])
        .draw_binary_masks(_mask(10, 10))
        .draw_binary_masks(torch.from_numpy(_mask(2, 10, 10)), colors=["r", (0, 255, 0)])
    )
    assert found is canvas


@pytest.mark.parametrize(
    ("what", "draw"),
    [
        ("bbox", lambda canvas: canvas.draw_bboxes(torch.tensor([1, 1, 20, 2]))),
        ("text", lambda canvas: canvas.draw_texts("text", positions=torch.tensor([15, 5]))),
        ("line", lambda canvas: canvas.draw_lines(torch.tensor([12, 5]), torch.tensor([2, 6]))),
        ("circle", lambda canvas: canvas.draw_circles(torch.tensor([12, 5]), torch.tensor([1]))),
        ("circle", lambda canvas: canvas.draw_circles(torch.tensor([1, 5]), torch.tensor([10]))),
        ("polygon", lambda canvas: canvas.draw_polygons(torch.tensor([[1, 1], [2, 2], [16, 4]]))),
    ],
)
def test_what_lies_outside(canvas, what, draw):
    words = f"Warning: The {what} is out of bounds, the drawn {what} may not be in the image"
    with pytest.warns(UserWarning, match=words):
        draw(canvas)


def test_what_is_refused(canvas):
    texts = ["a", "b"]
    for error, draw in (
        (TypeError, lambda: canvas.draw_bboxes([1, 1, 2, 2])),
        (AssertionError, lambda: canvas.draw_bboxes(torch.tensor([5, 1, 2, 2]))),
        (TypeError, lambda: canvas.draw_points([1, 2])),
        (AssertionError, lambda: canvas.draw_points(np.array([1.0, 2.0, 3.0]))),
        (TypeError, lambda: canvas.draw_texts("text", positions=[5, 5])),
        (AssertionError, lambda: canvas.draw_texts(texts, positions=torch.tensor([5, 5]))),
        (AssertionError, lambda: canvas.draw_texts("text", positions=ROWS)),
        (AssertionError, lambda: canvas.draw_texts(texts, positions=ROWS, colors=["r"])),
        (AssertionError, lambda: canvas.draw_texts(texts, positions=ROWS, vertical_alignments=["top"])),
        (AssertionError, lambda: canvas.draw_texts(texts, positions=ROWS, horizontal_alignments=["left"])),
        (AssertionError, lambda: canvas.draw_texts(texts, positions=ROWS, font_sizes=[1])),
        (TypeError, lambda: canvas.draw_texts(texts, positions=ROWS, font_sizes="b")),
        (TypeError, lambda: canvas.draw_lines([5, 5], torch.tensor([2, 6]))),
        (TypeError, lambda: canvas.draw_lines(np.array([5, 5]), [2, 6])),
        (AssertionError, lambda: canvas.draw_lines(torch.tensor([1, 5]), ROWS)),
        (TypeError, lambda: canvas.draw_circles([1, 5], torch.tensor([1]))),
        (TypeError, lambda: canvas.draw_circles(np.array([1, 5]), 10)),
        (AssertionError, lambda: canvas.draw_circles(torch.tensor([[1, 5]]), torch.tensor([1, 2]))),
        (AssertionError, lambda: canvas.draw_binary_masks(_mask(8, 10))),
        (AssertionError, lambda: canvas.draw_binary_masks(_mask(10, 10, 3))),
        (AssertionError, lambda: canvas.draw_binary_masks(_mask(10, 10).astype(int))),
    ):
        with pytest.raises(error):
            draw()


def test_feature_maps():
    from mmengine.visualization import Visualizer

    draw, image = Visualizer.draw_featmap, np.full((3, 3, 3), 9, np.uint8)
    wide, many = torch.randn(1, 4, 3), torch.randn(6, 3, 3)
    for maps, settings, shape in (
        (wide, {"resize_shape": (6, 7)}, (6, 7)),
        (wide, {"resize_shape": (6, 7), "overlaid_image": image}, (6, 7)),
        (many, {"channel_reduction": "squeeze_mean"}, (3, 3)),
        (many, {"channel_reduction": "select_max", "topk": 10}, (3, 3)),
        (wide, {"channel_reduction": "select_max", "overlaid_image": image}, (3, 3)),
        (wide, {"channel_reduction": None, "topk": -1}, (4, 3)),
        (torch.randn(3, 4, 3), {"channel_reduction": None, "topk": -1, "overlaid_image": image}, (3, 3)),
        (many, {"channel_reduction": None, "topk": 4, "arrangement": (2, 2)}, (6, 6)),
        (many, {"channel_reduction": None, "topk": 4, "arrangement": (1, 4)}, (3, 12)),
        (many, {"channel_reduction": None, "topk": 4, "arrangement": (2, 2), "overlaid_image": image[0]}, (6, 6)),
    ):
        assert draw(maps, **settings).shape[:2] == shape
    for maps, settings, words in (
        (np.ones((3, 3, 3)), {}, "`featmap` should be torch.Tensor, but got <class 'numpy.ndarray'>"),
        (torch.ones(1, 1, 3, 3), {}, "Input dimension must be 3, but got 4"),
        (many, {"channel_reduction": "xx"}, "channel_reduction|Mode"),
        (many, {"channel_reduction": None, "topk": 0}, "must be 1 or 3 when topk is less than 1, but the channel dim"),
        (many, {"channel_reduction": None, "topk": 4, "arrangement": (1, 2)}, "`arrangement` is less than topk"),
    ):
        with pytest.raises(AssertionError, match=words):
            draw(maps, **settings)


def test_windows():
    from mmengine.visualization import Visualizer

    visualizer, image = Visualizer("mme_windows"), np.ones((1, 1, 3))
    place = "mmengine.visualization.visualizer"
    with mock.patch(f"{place}.cv2") as cv2, mock.patch(f"{place}.wait_continue") as wait:
        visualizer.show(drawn_img=image, win_name="window", wait_time=0, backend="matplotlib")
        wait.assert_called_once_with(visualizer.manager.canvas.figure, timeout=0, continue_key=" ")
        visualizer.show(drawn_img=image, win_name="window", wait_time=1, backend="cv2")
        cv2.imshow.assert_called_once_with(str(id(visualizer)), image)
        cv2.waitKey.assert_called_once_with(1000)
        with pytest.raises(ValueError, match="backend"):
            visualizer.show(drawn_img=image, win_name="window", wait_time=0, backend="other")
