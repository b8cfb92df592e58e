"""Normalisation layers, images of tensors, and whether mmcv has its operators."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from trainwright.base.errors import ConfigTypeError, demand
from trainwright.utils.misc import is_tuple_of

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def is_norm(layer: nn.Module, exclude: type | tuple[type, ...] | None = None) -> bool:
    """Whether it is a batch, instance, group or layer norm, and of none of the types of `exclude`."""
    excluded = exclude if isinstance(exclude, tuple) else () if exclude is None else (exclude,)
    if not is_tuple_of(excluded, type):
        raise ConfigTypeError(f'"exclude" must be either None or type or a tuple of types, but got {exclude!r}')
    return isinstance(layer, _NORMS) and not isinstance(layer, excluded)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the module or one inside it is a batch norm."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def tensor2imgs(
    tensor: torch.Tensor,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    to_bgr: bool = True,
) -> list[np.ndarray[Any, Any]]:
    """The images (H, W, C) of a batch (N, C, H, W) that was normalised by `mean` and `std` (none: 0 and 1).

    C is 3, whose order is turned round by `to_bgr`, or 1, with `to_bgr=False`.
    """
    demand(isinstance(tensor, torch.Tensor) and tensor.ndim == 4, "tensor must be a torch.Tensor of shape (N, C, H, W)")
    channels = tensor.size(1)
    demand(channels in (1, 3), f"tensor must have 1 or 3 channels, but its shape is {tuple(tensor.shape)}")
    mean = (0,) * channels if mean is None else mean
    std = (1,) * channels if std is None else std
    demand(
        len(mean) == len(std) == channels,
        f"mean and std must have a number for each of the {channels} channels, but got {mean!r} and {std!r}",
    )
    demand(channels == 3 or not to_bgr, "to_bgr must be False with 1 channel: there is no order to turn round")
    images = tensor.detach().permute(0, 2, 3, 1) * tensor.new_tensor(std) + tensor.new_tensor(mean)
    if to_bgr:
        images = images.flip(3)
    return [np.ascontiguousarray(image) for image in images.cpu().numpy()]


def mmcv_full_available() -> bool:
    """Whether there is an mmcv with its compiled operators."""
    try:
        return find_spec("mmcv._ext") is not None
    except ImportError:  # no mmcv, or one that cannot be imported
        return False
