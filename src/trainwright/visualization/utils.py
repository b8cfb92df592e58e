"""What the drawing methods share: checks of their arguments, colours, and pictures as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

Types = type | tuple[type, ...]


def tensor2ndarray(value: Any) -> Any:
    """A tensor as an array in host memory; anything else as it is."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def value2list(value: Any, valid_type: Types, expand_dim: int) -> Any:
    """``expand_dim`` times ``value`` when it is of ``valid_type``; a list as it is."""
    return [value] * expand_dim if isinstance(value, valid_type) else value


def check_type(name: str, value: Any, valid_type: Types) -> None:
    """Raise ConfigTypeError unless ``value`` is of ``valid_type``."""
    if not isinstance(value, valid_type):
        wanted = " or ".join(kind.__name__ for kind in (valid_type if isinstance(valid_type, tuple) else (valid_type,)))
        raise ConfigTypeError(f"{name} must be of type {wanted}, but got a {type(value).__name__}: {value!r}.")


def check_length(name: str, value: Any, valid_length: int) -> None:
    """Raise RuleError for a list shorter than ``valid_length``; what is longer is not used."""
    if isinstance(value, list) and len(value) < valid_length:
        raise RuleError(
            f"{name} has {len(value)} entries for {valid_length} things to draw: give one for each, or a single value."
        )


def check_type_and_length(name: str, value: Any, valid_type: Types, valid_length: int) -> None:
    """Both checks."""
    check_type(name, value, valid_type)
    check_length(name, value, valid_length)


def check_shape(name: str, value: Any, ok: bool, wanted: str) -> None:
    """Raise RuleError with the shape of ``value`` unless ``ok``."""
    if not ok:
        raise RuleError(f"{name} must have the shape {wanted}, but got {tuple(value.shape)}.")


def color_val_matplotlib(colors: Any) -> Any:
    """RGB tuples of 0..255 as matplotlib's 0..1; names as they are; a list entry by entry."""
    if isinstance(colors, str):
        return colors
    if isinstance(colors, tuple):
        check_rgb(colors)
        return tuple(channel / 255 for channel in colors)
    if isinstance(colors, list):
        return [color_val_matplotlib(color) for color in colors]
    raise ConfigTypeError(
        f"a colour must be a name, an RGB tuple or a list of those, but got a {type(colors).__name__}: {colors!r}."
    )


def check_rgb(color: Sequence[float]) -> None:
    """Raise ConfigError unless ``color`` is three numbers of 0..255."""
    if len(color) != 3 or not all(0 <= channel <= 255 for channel in color):
        raise ConfigError(f"an RGB colour must be three numbers from 0 to 255, but got {tuple(color)}.")


def color_str2rgb(color: str) -> tuple[int, ...]:
    """RGB of 0..255 of matplotlib's name for a colour, without its alpha."""
    from matplotlib.colors import to_rgb

    return tuple(int(channel * 255) for channel in to_rgb(color))


def blend(image: np.ndarray, other: np.ndarray, alpha: float) -> np.ndarray:
    """``(1 - alpha) * image + alpha * other``, rounded and clipped to 8 bits."""
    mixed = image.astype(np.float64) * (1 - alpha) + other.astype(np.float64) * alpha
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def img_from_canvas(canvas: FigureCanvasAgg) -> np.ndarray:
    """What a canvas shows, (H, W, 3) RGB."""
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()
