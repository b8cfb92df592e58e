"""Feature maps as pictures: one channel as colours, many as a grid."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from trainwright.base.errors import RuleError, RuleTypeError
from trainwright.base.optional import require
from trainwright.visualization.utils import blend, check_shape, img_from_canvas, tensor2ndarray

REDUCTIONS = ("squeeze_mean", "select_max")
# How three channels become one brightness; in this order because MMEngine's are taken for blue, green, red.
_BRIGHTNESS = np.array([0.114, 0.587, 0.299])


def convert_overlay_heatmap(feat_map: Any, img: np.ndarray | None = None, alpha: float = 0.5) -> np.ndarray:
    """``feat_map``, (H, W), (1, H, W) or (3, H, W), from its lowest value in blue to its highest in red, as (H, W, 3)
    RGB of 8 bits; blended into ``img`` with the weight ``alpha`` when there is one.
    """
    values = np.asarray(tensor2ndarray(feat_map), dtype=np.float64)
    check_shape(
        "feat_map",
        values,
        values.ndim == 2 or (values.ndim == 3 and values.shape[0] in (1, 3)),
        "(H, W), (1, H, W) or (3, H, W)",
    )
    low, high = values.min(), values.max()
    span = high - low
    scaled = ((values - low) * (255 / span) if span > 0 else np.zeros_like(values)).astype(np.uint8)
    if scaled.ndim == 3:
        scaled = scaled[0] if len(scaled) == 1 else np.rint(np.tensordot(_BRIGHTNESS, scaled, 1)).astype(np.uint8)
    heat: np.ndarray = _jet()[scaled]
    return heat if img is None else blend(img, heat, alpha)


def draw_featmap(
    featmap: torch.Tensor,
    overlaid_image: np.ndarray | None,
    channel_reduction: str | None,
    topk: int,
    arrangement: tuple[int, int],
    resize_shape: tuple[int, int] | None,
    alpha: float,
) -> np.ndarray:
    """See ``Visualizer.draw_featmap``."""
    if not isinstance(featmap, torch.Tensor):
        raise RuleTypeError(f"`featmap` should be torch.Tensor, but got {type(featmap)}")
    if featmap.ndim != 3:
        shape = tuple(featmap.shape)
        raise RuleError(f"Input dimension must be 3, but got {featmap.ndim}: featmap is (C, H, W), not {shape}")
    maps = featmap.detach().cpu().float()
    if overlaid_image is not None and overlaid_image.ndim == 2:
        overlaid_image = np.repeat(overlaid_image[..., None], 3, axis=-1)
    maps, overlaid_image = _of_one_size(maps, overlaid_image, resize_shape)
    if channel_reduction is not None:
        if channel_reduction not in REDUCTIONS:
            raise RuleError(f"channel_reduction must be one of {REDUCTIONS} or None, but got {channel_reduction!r}.")
        one = maps.mean(dim=0) if channel_reduction == "squeeze_mean" else maps[_strongest(maps, 1)]
        return convert_overlay_heatmap(one, overlaid_image, alpha)
    if topk <= 0:
        if maps.shape[0] not in (1, 3):
            raise RuleError(
                "The input tensor channel dimension must be 1 or 3 when topk is less than 1, but the channel dimension "
                f"you input is {maps.shape[0]}, you can use the channel_reduction parameter or set topk greater than 0 "
                f"to solve the error: it is {topk} now, and the number of channels to show"
            )
        return convert_overlay_heatmap(maps, overlaid_image, alpha)
    rows, columns = arrangement
    if rows * columns < topk:
        raise RuleError(
            "The product of row and col in the `arrangement` is less than topk, please set the `arrangement` "
            f"correctly: {tuple(arrangement)} has {rows * columns} places for topk={topk} channels"
        )
    return _grid(maps, _strongest(maps, min(topk, maps.shape[0])), rows, columns, overlaid_image, alpha)


def _jet() -> np.ndarray:
    """(256, 3): dark blue, blue, cyan, yellow, red, dark red, in straight lines."""
    peaks = np.array([766, 510, 254])
    table: np.ndarray = np.clip(382 - np.abs(4 * np.arange(256)[:, None] - peaks), 0, 255).astype(np.uint8)
    return table


def _of_one_size(
    maps: torch.Tensor, image: np.ndarray | None, resize_shape: tuple[int, int] | None
) -> tuple[torch.Tensor, np.ndarray | None]:
    if image is not None and tuple(image.shape[:2]) != tuple(maps.shape[1:]):
        warnings.warn(
            f"overlaid_image is {tuple(image.shape[:2])} and the feature map {tuple(maps.shape[1:])}: it is "
            "interpolated, and may not lie where it belongs.",
            stacklevel=4,
        )
        if resize_shape is None:
            maps = _resized(maps, image.shape[:2])
    if resize_shape is not None:
        maps = _resized(maps, resize_shape)
        if image is not None:
            pixels = _resized(torch.from_numpy(image.transpose(2, 0, 1).astype(np.float32)), resize_shape)
            image = pixels.round().clamp(0, 255).numpy().astype(np.uint8).transpose(1, 2, 0)
    return maps, image


def _resized(maps: torch.Tensor, shape: Any) -> torch.Tensor:
    return F.interpolate(maps[None], tuple(shape), mode="bilinear", align_corners=False)[0]


def _strongest(maps: torch.Tensor, count: int) -> torch.Tensor:
    """Indices of the channels with the largest sums, the largest first."""
    return torch.topk(maps.sum(dim=(1, 2)), count).indices


def _grid(
    maps: torch.Tensor, channels: torch.Tensor, rows: int, columns: int, image: np.ndarray | None, alpha: float
) -> np.ndarray:
    require("matplotlib", "vis", "drawing feature maps")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = maps.shape[1:]
    figure = Figure(frameon=False)
    canvas = FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=0, hspace=0)
    # A little more than a whole number of pixels: matplotlib cuts off.
    figure.set_size_inches((width * columns + 1e-2) / figure.dpi, (height * rows + 1e-2) / figure.dpi)
    for place, channel in enumerate(channels.tolist(), 1):
        axes = figure.add_subplot(rows, columns, place)
        axes.axis("off")
        axes.text(2, 15, f"channel: {channel}", fontsize=10)
        axes.imshow(convert_overlay_heatmap(maps[channel], image, alpha))
    return img_from_canvas(canvas)
