"""Drawing on a picture: boxes, polygons, masks, lines, points, circles and text. Needs matplotlib (extra ``vis``)."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from trainwright.base.errors import RuleError, RuleTypeError
from trainwright.base.optional import require
from trainwright.visualization import featmap as maps
from trainwright.visualization.utils import (
    blend,
    check_length,
    check_rgb,
    check_shape,
    check_type,
    check_type_and_length,
    color_str2rgb,
    color_val_matplotlib,
    img_from_canvas,
    tensor2ndarray,
    value2list,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties

Array = np.ndarray | torch.Tensor
Color = str | tuple[int, int, int] | list[str] | list[tuple[int, int, int]]
Width = float | list[float]
Style = str | list[str]
D = TypeVar("D", bound="Drawing")


class Drawing:
    """A picture and what is drawn on it. The ``draw_*`` methods return the object, so that calls can be chained.

    Coordinates are pixels, (0, 0) in the upper left corner. A colour is a name that matplotlib knows or an RGB tuple of
    0..255; where a list may be given, it holds one entry for each thing drawn. What lies outside of the picture is
    drawn as far as it shows, with a warning. The figure is made when it is first needed: who draws nothing needs no
    matplotlib.
    """

    def __init__(self, image: np.ndarray | None, fig_save_cfg: dict[str, Any] | None) -> None:
        self.fig_save_cfg = {"frameon": False} if fig_save_cfg is None else fig_save_cfg
        self._parts: tuple[FigureCanvasAgg, Figure, Axes] | None = None
        self._image: np.ndarray | None = None
        if image is not None:
            self.set_image(image)

    @property
    def fig_save(self) -> Figure:
        """The figure that is drawn on."""
        return self._figure()[1]

    @property
    def fig_save_canvas(self) -> FigureCanvasAgg:
        """Its canvas."""
        return self._figure()[0]

    @property
    def ax_save(self) -> Axes:
        """Its axes."""
        return self._figure()[2]

    @property
    def dpi(self) -> float:
        """Pixels of the figure per inch."""
        return float(self.fig_save.get_dpi())

    def _figure(self) -> tuple[FigureCanvasAgg, Figure, Axes]:
        if self._parts is None:
            self._parts = self._initialize_fig(self.fig_save_cfg)
        return self._parts

    def _initialize_fig(self, fig_cfg: dict[str, Any]) -> tuple[FigureCanvasAgg, Figure, Axes]:
        require("matplotlib", "vis", "drawing")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(**fig_cfg)
        axes = figure.add_subplot()
        axes.axis(False)
        figure.subplots_adjust(left=0, right=1, bottom=0, top=1)  # no white margin
        return FigureCanvasAgg(figure), figure, axes

    def set_image(self, image: np.ndarray) -> None:
        """Start over with this picture, (H, W, 3) RGB or (H, W) grey, 8-bit."""
        if image is None or np.ndim(image) not in (2, 3):
            found = "None" if image is None else f"an array of shape {np.shape(image)}"
            raise RuleTypeError(f"an image must be an array of shape (H, W, 3) or (H, W), but got {found}.")
        image = np.asarray(tensor2ndarray(image)).astype(np.uint8)
        self._image = image
        self.height, self.width = image.shape[:2]
        self._default_font_size = float(max(np.sqrt(self.height * self.width) // 90, 10))
        # A little more than a whole number of pixels: matplotlib cuts off.
        self.fig_save.set_size_inches((self.width + 1e-2) / self.dpi, (self.height + 1e-2) / self.dpi)
        self.ax_save.cla()
        self.ax_save.axis(False)
        self._show_pixels(image, "none")

    def get_image(self) -> np.ndarray:
        """The picture with all that was drawn on it, (H, W, 3) RGB."""
        self._axes()
        return img_from_canvas(self.fig_save_canvas)

    def _show_pixels(self, image: np.ndarray, interpolation: str) -> None:
        colours = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image
        self.ax_save.imshow(colours, extent=(0, self.width, self.height, 0), interpolation=interpolation)

    def _axes(self) -> Axes:
        if self._image is None:
            raise RuleError("there is no picture to draw on: call set_image(image) first.")
        return self.ax_save

    def _is_posion_valid(self, position: np.ndarray) -> bool:
        """Whether all points, (..., 2), lie in the picture. Subclasses elsewhere call it by this name."""
        x, y = position[..., 0], position[..., 1]
        return bool(((x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)).all())

    def _warn_outside(self, what: str, *positions: np.ndarray) -> None:
        if not all(self._is_posion_valid(position) for position in positions):
            text = f"Warning: The {what} is out of bounds, the drawn {what} may not be in the image"
            warnings.warn(text, UserWarning, stacklevel=3)

    def _widths(self, line_widths: Width, count: int) -> list[float]:
        """One width for each, no thinner than 1 and no thicker than fits the size of the picture."""
        widths = value2list(line_widths, (int, float), count)
        return [min(max(width, 1), self._default_font_size / 4) for width in widths]

    def draw_points(self: D, positions: Array, colors: Color = "g", marker: str | None = None, sizes: Any = None) -> D:
        """Points at ``positions``, (N, 2) or (2,); ``marker`` and ``sizes`` as of matplotlib's ``scatter``."""
        axes = self._axes()
        points = _points("positions", positions)
        colors = color_val_matplotlib(colors)
        # One colour for all as a list of one: three numbers would be taken for the values of three points.
        paints: Any = [colors] if isinstance(colors, tuple) else colors
        axes.scatter(points[:, 0], points[:, 1], c=paints, s=tensor2ndarray(sizes), marker=marker)
        return self

    def draw_texts(
        self: D,
        texts: str | list[str],
        positions: Array,
        font_sizes: float | list[float] | None = None,
        colors: Color = "g",
        vertical_alignments: str | list[str] = "top",
        horizontal_alignments: str | list[str] = "left",
        font_families: str | list[str] = "sans-serif",
        bboxes: dict[str, Any] | list[dict[str, Any]] | None = None,
        font_properties: FontProperties | list[FontProperties] | None = None,
    ) -> D:
        """Texts at ``positions``, (N, 2) or (2,). Without ``font_sizes`` they go by the size of the picture. ``bboxes``
        are the boxes around them, as matplotlib's ``text`` takes them.
        """
        axes = self._axes()
        from matplotlib.font_manager import FontProperties

        check_type("texts", texts, (str, list))
        words = value2list(texts, str, 1)
        count = len(words)
        places = _points("positions", positions)
        check_shape("positions", places, len(places) == count, f"({count}, 2), one row for each text")
        self._warn_outside("text", places)
        given: dict[str, tuple[Any, tuple[type, ...]]] = {
            "font_sizes": (self._default_font_size if font_sizes is None else font_sizes, (int, float)),
            "colors": (colors, (str, tuple)),
            "vertical_alignments": (vertical_alignments, (str,)),
            "horizontal_alignments": (horizontal_alignments, (str,)),
            "font_families": (font_families, (str,)),
            "bboxes": (bboxes, (dict, type(None))),
            "font_properties": (font_properties, (FontProperties, type(None))),
        }
        each = {}
        for name, (value, types) in given.items():
            check_type_and_length(name, value, (*types, list), count)
            each[name] = value2list(value, types, count)
        paints = color_val_matplotlib(each["colors"])
        for i, (x, y) in enumerate(places.tolist()):
            axes.text(
                x,
                y,
                words[i],
                size=each["font_sizes"][i],
                bbox=each["bboxes"][i],
                verticalalignment=each["vertical_alignments"][i],
                horizontalalignment=each["horizontal_alignments"][i],
                family=each["font_families"][i],
                fontproperties=each["font_properties"][i],
                color=paints[i],
            )
        return self

    def draw_lines(
        self: D, x_datas: Array, y_datas: Array, colors: Color = "g", line_styles: Style = "-", line_widths: Width = 2
    ) -> D:
        """Straight lines: ``x_datas`` and ``y_datas``, (N, 2) or (2,), hold where each begins and ends."""
        axes = self._axes()
        from matplotlib.collections import LineCollection

        xs, ys = _points("x_datas", x_datas), _points("y_datas", y_datas)
        check_shape("y_datas", ys, xs.shape == ys.shape, f"of x_datas, {xs.shape}")
        lines = np.stack((xs, ys), axis=-1)
        self._warn_outside("line", lines)
        axes.add_collection(
            LineCollection(
                lines.tolist(), colors=color_val_matplotlib(colors), linestyles=line_styles, linewidths=line_widths
            )
        )
        return self

    def draw_circles(
        self: D,
        center: Array,
        radius: Array,
        edge_colors: Color = "g",
        line_styles: Style = "-",
        line_widths: Width = 2,
        face_colors: Color = "none",
        alpha: float = 0.8,
    ) -> D:
        """Circles around ``center``, (N, 2) or (2,), with ``radius``, (N,)."""
        axes = self._axes()
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Circle

        check_type("radius", radius, (np.ndarray, torch.Tensor))
        radii = np.atleast_1d(tensor2ndarray(radius))
        centers = _points("center", center)
        check_shape("center", centers, len(centers) == len(radii), f"({len(radii)}, 2), one row for each radius")
        self._warn_outside("circle", centers - radii[:, None], centers + radii[:, None])
        circles = [Circle(tuple(c), r) for c, r in zip(centers.tolist(), radii.tolist(), strict=True)]
        axes.add_collection(
            PatchCollection(
                circles,
                alpha=alpha,
                facecolors=color_val_matplotlib(face_colors),
                edgecolors=color_val_matplotlib(edge_colors),
                linewidths=self._widths(line_widths, len(circles)),
                linestyles=line_styles,
            )
        )
        return self

    def draw_bboxes(
        self: D,
        bboxes: Array,
        edge_colors: Color = "g",
        line_styles: Style = "-",
        line_widths: Width = 2,
        face_colors: Color = "none",
        alpha: float = 0.8,
    ) -> D:
        """Boxes (x1, y1, x2, y2), (N, 4) or (4,)."""
        self._axes()
        boxes = _points("bboxes", bboxes, 4)
        if (boxes[:, :2] > boxes[:, 2:]).any():
            wrong = boxes[(boxes[:, :2] > boxes[:, 2:]).any(axis=1)][0].tolist()
            raise RuleError(f"a box must be (x1, y1, x2, y2) with x1 <= x2 and y1 <= y2, but got {wrong}.")
        self._warn_outside("bbox", boxes.reshape(-1, 2))
        corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warning: The polygon is out of bounds", UserWarning)  # said above
            return self.draw_polygons(
                list(corners),
                alpha=alpha,
                edge_colors=edge_colors,
                line_styles=line_styles,
                line_widths=line_widths,
                face_colors=face_colors,
            )

    def draw_polygons(
        self: D,
        polygons: Array | list[Array],
        edge_colors: Color = "g",
        line_styles: Style = "-",
        line_widths: Width = 2,
        face_colors: Color = "none",
        alpha: float = 0.8,
    ) -> D:
        """Closed polygons, each (M, 2): one, or a list."""
        axes = self._axes()
        from matplotlib.collections import PolyCollection

        check_type("polygons", polygons, (list, np.ndarray, torch.Tensor))
        shapes = [tensor2ndarray(p) for p in (polygons if isinstance(polygons, list) else [polygons])]
        for shape in shapes:
            check_shape("a polygon", shape, shape.ndim == 2 and shape.shape[1] == 2, "(M, 2)")
        self._warn_outside("polygon", *shapes)
        axes.add_collection(
            PolyCollection(
                shapes,
                alpha=alpha,
                facecolor=color_val_matplotlib(face_colors),
                linestyles=line_styles,
                edgecolors=color_val_matplotlib(edge_colors),
                linewidths=self._widths(line_widths, len(shapes)),
            )
        )
        return self

    def draw_binary_masks(self: D, binary_masks: Array, colors: Color = "g", alphas: float | list[float] = 0.8) -> D:
        """Masks, bool (N, H, W) or (H, W) of the picture's size, blended in one after the other."""
        check_type("binary_masks", binary_masks, (np.ndarray, torch.Tensor))
        masks = tensor2ndarray(binary_masks)
        if masks.dtype != np.bool_:
            raise RuleTypeError(f"binary_masks must be bool, but got {masks.dtype}: compare with a threshold first.")
        image = self.get_image()
        masks = masks[None] if masks.ndim == 2 else masks
        check_shape("binary_masks", masks, masks.shape[1:] == image.shape[:2], f"(N, {self.height}, {self.width})")
        check_type_and_length("colors", colors, (str, tuple, list), len(masks))
        paints = [color_str2rgb(c) if isinstance(c, str) else c for c in value2list(colors, (str, tuple), len(masks))]
        check_length("alphas", alphas, len(masks))
        weights = value2list(alphas, (int, float), len(masks))
        for mask, paint, alpha in zip(masks, paints, weights, strict=False):
            check_rgb(paint)
            image = blend(image, np.where(mask[..., None], np.array(paint, np.uint8), image), alpha)
        self._show_pixels(image, "nearest")
        return self

    @staticmethod
    def draw_featmap(
        featmap: torch.Tensor,
        overlaid_image: np.ndarray | None = None,
        channel_reduction: str | None = "squeeze_mean",
        topk: int = 20,
        arrangement: tuple[int, int] = (4, 5),
        resize_shape: tuple[int, int] | None = None,
        alpha: float = 0.5,
    ) -> np.ndarray:
        """A feature map, (C, H, W), as a picture, (H, W, 3) RGB.

        ``channel_reduction`` makes one channel of all: "squeeze_mean" their mean, "select_max" the one with the largest
        sum. With None, the ``topk`` channels of the largest sums are shown in a grid of ``arrangement`` (rows,
        columns), or, when ``topk`` is not positive, the one or three channels there are as one picture.
        ``overlaid_image`` shines through with the weight ``1 - alpha``; maps are interpolated to its size, or all of it
        to ``resize_shape`` (height, width).
        """
        return maps.draw_featmap(featmap, overlaid_image, channel_reduction, topk, arrangement, resize_shape, alpha)


def _points(name: str, value: Array, size: int = 2) -> Any:
    """``value`` as an array (N, size); a single row may come without its first dimension."""
    check_type(name, value, (np.ndarray, torch.Tensor))
    rows = tensor2ndarray(value)
    rows = rows[None] if rows.ndim == 1 else rows
    check_shape(name, rows, rows.ndim == 2 and rows.shape[1] == size, f"(N, {size})")
    return rows
