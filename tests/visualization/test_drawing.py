import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from drawn_pictures import PICTURES, maps, ramp

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingExtraError
from trainwright.visualization import LocalVisBackend, Visualizer
from trainwright.visualization.utils import color_str2rgb, color_val_matplotlib, value2list

REFERENCES = Path(__file__).parent / "references"


@pytest.fixture
def visualizer():
    """One with a picture of 72 x 96."""
    return Visualizer(image=ramp())


def difference(one, other):
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.uint8
    return np.abs(one.astype(int) - other.astype(int))


@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
def test_looks_like_the_reference(draw):
    reference = matplotlib.image.imread(REFERENCES / f"{draw.__name__}.png")[..., :3]
    off = difference(draw(Visualizer()), (reference * 255).round().astype(np.uint8))
    # Room for another version of the renderer, mostly at the edges of letters, and for nothing else.
    assert off.mean() < 1.5
    assert (off > 40).mean() < 0.02


@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
def test_each_picture_shows_what_it_draws(draw, monkeypatch):
    monkeypatch.setattr(Visualizer, "get_image", lambda self: self._image)
    plain = draw(Visualizer())
    monkeypatch.undo()
    if draw.__name__ not in ("heat", "grid"):  # those need no picture
        assert (difference(draw(Visualizer()), plain) > 20).mean() > 0.01


@pytest.mark.peer
@pytest.mark.parametrize("draw", PICTURES, ids=lambda draw: draw.__name__)
def test_draws_what_mmengine_draws(draw):
    theirs = pytest.importorskip("mmengine.visualization").Visualizer(name=f"test_draws_{draw.__name__}")
    off = difference(draw(Visualizer()), draw(theirs))
    # Of cv2's colour table, the entries between two colours differ by up to 2 levels.
    assert off.max() <= (3 if draw.__name__ in ("heat", "grid") else 0)


@pytest.mark.peer
@pytest.mark.parametrize(
    "options",
    [
        {"channel_reduction": "select_max"},
        {"channel_reduction": None, "topk": 0},
        {"channel_reduction": None, "topk": 0, "overlaid_image": ramp(24, 32)},
        {"overlaid_image": ramp(24, 32), "alpha": 0.2},
        {"overlaid_image": ramp(24, 32)[..., 0]},
    ],
    ids=["max", "three", "three_over", "mean_over", "grey_over"],
)
def test_feature_maps_are_those_of_mmengine(options):
    theirs = pytest.importorskip("mmengine.visualization").Visualizer
    featmap = maps()[:3] if options.get("topk") == 0 else maps()
    off = difference(Visualizer.draw_featmap(featmap, **options), theirs.draw_featmap(featmap, **options))
    # Where a value falls between two of the 256 levels, one of them may take the next, which is 4 of a colour.
    assert off.max() <= 8
    assert off.mean() < 1


def test_an_untouched_picture_comes_back_as_it_is():
    noise = np.random.RandomState(0).randint(0, 256, (37, 53, 3)).astype(np.uint8)
    visualizer = Visualizer(image=noise)
    assert (visualizer.get_image() == noise).all()
    assert visualizer._image is not noise
    assert (visualizer._image == noise).all()
    visualizer.draw_bboxes(np.array([1, 1, 20, 20]))
    assert (visualizer.get_image() != noise).any()
    visualizer.set_image(noise[:20].astype(float))
    assert (visualizer.get_image() == noise[:20]).all()
    assert (visualizer.height, visualizer.width) == (20, 53)
    grey = noise[..., 0]
    visualizer.set_image(grey)
    assert (visualizer.get_image() == grey[..., None]).all()


def test_calls_can_be_chained(visualizer):
    point, pair = np.array([5, 5]), np.array([5, 9])
    chained = (
        visualizer.draw_bboxes(np.array([1, 1, 9, 9]))
        .draw_points(point)
        .draw_texts("a", point)
        .draw_lines(pair, pair)
        .draw_circles(np.array([9, 9]), np.array([3]))
        .draw_polygons([np.array([[1, 1], [5, 5], [1, 5]])])
        .draw_binary_masks(np.zeros((72, 96), bool))
    )
    assert chained is visualizer


def test_a_subclass_can_draw_on_the_axes(visualizer):
    visualizer.ax_save.plot([0, 96], [36, 36], color=(1.0, 0.0, 0.0))
    assert (visualizer.get_image()[36, 10:80, 0] > 180).all()
    assert visualizer.fig_save_canvas.figure is visualizer.fig_save
    assert visualizer.dpi == 100


def test_line_width_is_kept_within_what_suits_the_picture(visualizer):
    visualizer.draw_bboxes(np.array([5, 5, 20, 20]), line_widths=50)
    visualizer.draw_bboxes(np.array([5, 5, 20, 20]), line_widths=[0.1])
    assert [c.get_linewidth()[0] for c in visualizer.ax_save.collections] == [2.5, 1]


BOX, OUT = np.array([1, 1, 9, 9]), "is out of bounds, the drawn .* may not be in the image"
POINT = np.array([5, 5])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda v: v.draw_bboxes(np.array([90, 60, 100, 70])), "The bbox is out of bounds"),
        (lambda v: v.draw_polygons(np.array([[-1, 0], [5, 5], [0, 5]])), "The polygon is out of bounds"),
        (lambda v: v.draw_lines(np.array([0, 96]), np.array([0, 5])), "The line is out of bounds"),
        (lambda v: v.draw_circles(POINT, np.array([6])), "The circle is out of bounds"),
        (lambda v: v.draw_texts("x", np.array([5, 72])), "The text is out of bounds"),
    ],
    ids=["box", "polygon", "line", "circle", "text"],
)
def test_a_warning_about_what_does_not_show(visualizer, draw, message):
    with pytest.warns(UserWarning, match=message) as seen:
        draw(visualizer)
    assert len(seen) == 1
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (
            lambda v: v.draw_bboxes([1, 1, 9, 9]),
            ConfigTypeError,
            "bboxes must be of type ndarray or Tensor, but got a ",
        ),
        (
            lambda v: v.draw_bboxes(np.array([1, 1, 9])),
            ConfigError,
            r"bboxes must have the shape \(N, 4\), but got \(1, ",
        ),
        (
            lambda v: v.draw_bboxes(np.array([9, 1, 1, 9])),
            ConfigError,
            r"x1 <= x2 and y1 <= y2, but got \[9, 1, 1, 9\]",
        ),
        (
            lambda v: v.draw_polygons("x"),
            ConfigTypeError,
            "polygons must be of type list or ndarray or Tensor, but got a",
        ),
        (lambda v: v.draw_polygons([BOX]), ConfigError, r"a polygon must have the shape \(M, 2\), but got \(4,\)"),
        (lambda v: v.draw_points(BOX), ConfigError, r"positions must have the shape \(N, 2\), but got \(1, 4\)"),
        (
            lambda v: v.draw_points(POINT, colors=3),
            ConfigTypeError,
            "a colour must be a name, an RGB tuple or a list of",
        ),
        (lambda v: v.draw_points(POINT, colors=(1, 2)), ConfigError, r"three numbers from 0 to 255, but got \(1, 2\)"),
        (lambda v: v.draw_points(POINT, colors=(1, 2, 300)), ConfigError, r"from 0 to 255, but got \(1, 2, 300\)"),
        (
            lambda v: v.draw_lines(POINT, BOX[:3]),
            ConfigError,
            r"y_datas must have the shape \(N, 2\), but got \(1, 3\)",
        ),
        (
            lambda v: v.draw_lines(POINT, np.stack([POINT, POINT])),
            ConfigError,
            r"y_datas must have the shape of x_datas, \(1, 2\), but got \(2, 2\)",
        ),
        (
            lambda v: v.draw_circles(POINT, 3),
            ConfigTypeError,
            "radius must be of type ndarray or Tensor, but got a int: 3",
        ),
        (
            lambda v: v.draw_circles(POINT, np.array([1, 2])),
            ConfigError,
            r"center must have the shape \(2, 2\), one row for each radius, but got \(1, 2\)",
        ),
        (lambda v: v.draw_texts(3, POINT), ConfigTypeError, "texts must be of type str or list, but got a int: 3"),
        (
            lambda v: v.draw_texts(["a", "b"], POINT),
            ConfigError,
            r"positions must have the shape \(2, 2\), one row for each text, but got \(1, 2\)",
        ),
        (
            lambda v: v.draw_texts(["a", "b"], np.stack([POINT, POINT]), font_sizes=[3]),
            ConfigError,
            "font_sizes has 1 entries for 2 things to draw: give one for each, or a single value",
        ),
        (
            lambda v: v.draw_texts("a", POINT, font_sizes="big"),
            ConfigTypeError,
            "font_sizes must be of type int or float",
        ),
        (lambda v: v.draw_binary_masks(ramp()[..., 0]), ConfigTypeError, "binary_masks must be bool, but got uint8"),
        (
            lambda v: v.draw_binary_masks(np.zeros((3, 3), bool)),
            ConfigError,
            r"binary_masks must have the shape \(N, 72, 96\), but got \(1, 3, 3\)",
        ),
        (
            lambda v: v.draw_binary_masks(np.zeros((2, 72, 96), bool), alphas=[0.5]),
            ConfigError,
            "alphas has 1 entries for 2 things",
        ),
        (lambda v: v.set_image(None), ConfigTypeError, r"an image must be an array of shape .* but got None"),
        (lambda v: v.set_image(BOX), ConfigTypeError, r"an image must be .* but got an array of shape \(4,\)"),
        (lambda v: v.draw_featmap(BOX), ConfigTypeError, "`featmap` should be torch.Tensor, but got <class .*ndarray"),
        (lambda v: v.draw_featmap(torch.ones(2, 2)), ConfigError, r"must be 3, but got 2: .* not \(2, 2\)"),
        (
            lambda v: v.draw_featmap(maps(), channel_reduction="max"),
            ConfigError,
            r"channel_reduction must be one of \('squeeze_mean', 'select_max'\) or None, but got 'max'",
        ),
        (
            lambda v: v.draw_featmap(maps(), channel_reduction=None, topk=0),
            ConfigError,
            r"must be 1 or 3 when topk is less than 1, .* is 6, you can use .* it is 0 now",
        ),
        (
            lambda v: v.draw_featmap(maps(), channel_reduction=None, topk=5, arrangement=(2, 2)),
            ConfigError,
            r"less than topk, .*: \(2, 2\) has 4 places for topk=5 channels",
        ),
    ],
)
def test_a_wrong_argument_is_named(visualizer, draw, error, message):
    with pytest.raises(error, match=message):
        draw(visualizer)


@pytest.mark.parametrize(
    "draw",
    [lambda v: v.get_image(), lambda v: v.draw_bboxes(BOX), lambda v: v.draw_points(POINT)],
    ids=["get", "box", "point"],
)
def test_without_a_picture_there_is_nothing_to_draw_on(draw):
    with pytest.raises(ConfigError, match=r"there is no picture to draw on: call set_image\(image\) first"):
        draw(Visualizer())


def test_matplotlib_is_needed_only_to_draw(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    visualizer = Visualizer(vis_backends=LocalVisBackend(str(tmp_path)))
    visualizer.add_scalar("loss", 1.0)
    visualizer.close()
    with pytest.raises(MissingExtraError, match=r"drawing needs the package 'matplotlib'.*trainwright\[vis\]"):
        visualizer.set_image(ramp())


def test_a_constant_map_is_all_blue_and_another_size_is_said():
    assert (Visualizer.draw_featmap(torch.ones(2, 4, 4)) == np.array([0, 0, 128], np.uint8)).all()
    with pytest.warns(UserWarning, match=r"overlaid_image is \(8, 8\) and the feature map \(4, 4\)") as seen:
        assert Visualizer.draw_featmap(torch.ones(2, 4, 4), ramp(8, 8)).shape == (8, 8, 3)
    assert seen[0].filename == __file__


def test_colours_are_read_as_names_and_as_rgb():
    assert color_val_matplotlib(["r", (255, 0, 51)]) == ["r", (1.0, 0.0, 0.2)]
    assert color_str2rgb("c") == (0, 191, 191)
    assert value2list(3, int, 2) == [3, 3]
    assert value2list([1], int, 2) == [1]
