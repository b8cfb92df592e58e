"""Values for every pixel of a sample, such as a segmentation map."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from trainwright.base.text import brief
from trainwright.structures.base_data_element import _OWN, BaseDataElement
from trainwright.structures.errors import FieldError, FieldTypeError


class PixelData(BaseDataElement):
    """Tensors and arrays (C, H, W) of one height and width; ``element[10:20, 30:40]`` cuts all of them."""

    def __setattr__(self, name: str, value: torch.Tensor | np.ndarray[Any, Any]) -> None:
        """Set a field; one of (H, W) becomes (1, H, W), with a warning."""
        if name not in _OWN:
            if not isinstance(value, (torch.Tensor, np.ndarray)):
                raise FieldTypeError(
                    f"Can not set {type(value)}, only support {(torch.Tensor, np.ndarray)}: {name}={brief(value)}"
                )
            shape = self.shape
            if shape and tuple(value.shape[-2:]) != shape:
                raise FieldError(
                    f"The height and width of values {tuple(value.shape[-2:])} is not consistent with the shape of "
                    f"this PixelData {shape}, in which {name} is set"
                )
            if value.ndim not in (2, 3):
                raise FieldError(
                    f"The dim of value must be 2 or 3, but got {value.ndim}: {name} is (C, H, W) or (H, W), not "
                    f"{tuple(value.shape)}"
                )
            if value.ndim == 2:
                value = value[None]
                warnings.warn(
                    f"The shape of value will convert from {value.shape[-2:]} to {value.shape}: {name}[None] says so",
                    stacklevel=2,
                )
        super().__setattr__(name, value)

    def __getitem__(self, item: Sequence[int | slice]) -> PixelData:
        """The part in rows and columns; a number counts as a slice of one."""
        if not isinstance(item, tuple):
            raise FieldTypeError(
                f"Unsupported type {type(item)} for slicing PixelData: element[rows, columns] needs both, got "
                f"{brief(item)}"
            )
        if len(item) != 2:
            raise FieldError(f"Only support to slice height and width, got {len(item)} parts: {brief(item)}")
        cut = self.__class__(metainfo=self.metainfo)
        shape = self.shape
        if shape is not None:
            place = (slice(None), *(_as_slice(part, n) for part, n in zip(item, shape, strict=True)))
            for name, value in self.items():
                setattr(cut, name, value[place])
        return cut

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width; None while there is no field."""
        first = next(self.items(), None)
        return None if first is None else tuple(first[1].shape[-2:])


def _as_slice(part: Any, n: int) -> slice:
    if isinstance(part, slice):
        return part
    if not isinstance(part, int):
        raise FieldTypeError(
            f"The type of element in input must be int or slice, but got {type(part)}: element[rows, columns]"
        )
    if not -n <= part < n:
        raise IndexError(f"Index {part} out of range! There are {n} rows or columns")
    return slice(part, None, n)
