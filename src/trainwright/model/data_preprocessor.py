"""From a collated batch to what the model's forward takes: on the device, normalised, in one tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainwright.base.errors import ConfigKeyError, ConfigTypeError, DataError, DataRuleError, RuleError
from trainwright.model.utils import stack_batch
from trainwright.registry import MODELS

# What cast_data takes, and data elements besides.
CastData = tuple[Any, ...] | dict[Any, Any] | Tensor | list[Any] | bytes | str | None


@MODELS.register_module()
class BaseDataPreprocessor(nn.Module):
    """Moves a batch to the device on which the module was put last, with the model that it belongs to.

    `non_blocking`: copy from pinned memory without waiting. Normalisation, padding and stacking belong into a subclass
    that overrides ``forward``.
    """

    copies_ahead: Any = None  # where the strategy begins the copies to the device while the batch before is computed on

    def __init__(self, non_blocking: bool | None = False) -> None:
        super().__init__()
        self._non_blocking = non_blocking
        self._device = torch.device("cpu")
        self._is_cpu = True

    @property
    def device(self) -> torch.device:
        """Where batches go."""
        return self._device

    def forward(self, data: Any, training: bool = False) -> Any:
        """`data` on the device, in the same structure; `training` is for subclasses that augment."""
        return self.cast_data(data)

    def cast_data(self, data: Any) -> Any:
        """Copy the tensors, and what else has ``to``, in nested dicts, lists and tuples; the rest passes as it is."""
        # Every batch of every iteration passes here: the common types come first, and by identity.
        kind = type(data)
        if kind is torch.Tensor:
            if data.is_cpu if self._is_cpu else data.device == self._device:
                return data
            copy = None if self.copies_ahead is None else self.copies_ahead.take(data)
            return data.to(self._device, non_blocking=bool(self._non_blocking)) if copy is None else copy
        if kind is dict or kind is tuple or kind is list:
            if self._is_cpu:
                for value in data.values() if kind is dict else data:
                    if type(value) is not torch.Tensor or not value.is_cpu:
                        break
                else:
                    return kind(data)
            if kind is dict:
                return {key: self.cast_data(value) for key, value in data.items()}
            return kind([self.cast_data(value) for value in data])
        return self._cast_other(data)

    def _cast_other(self, data: Any) -> Any:
        if data is None or isinstance(data, (str, bytes)):
            return data
        if isinstance(data, Mapping):
            return {key: self.cast_data(value) for key, value in data.items()}
        if isinstance(data, Sequence):
            cast = [self.cast_data(value) for value in data]
            kind: Any = type(data)
            return kind(*cast) if hasattr(data, "_fields") else kind(cast)
        if hasattr(data, "to"):
            return data.to(self._device, non_blocking=bool(self._non_blocking))
        return data

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> BaseDataPreprocessor:
        # Every way to move a module, or the model around it, ends here: to, cuda, cpu, to_empty.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._device = fn(torch.empty(0, device=self._device)).device
        self._is_cpu = self._device.type == "cpu"
        return self


@MODELS.register_module()
class ImgDataPreprocessor(BaseDataPreprocessor):
    """Makes one float tensor (N, C, H, W) of the images under ``inputs``: a list of (C, H, W), or (N, C, H, W).

    In this order: the copy to the device, the order of the channels (`bgr_to_rgb`, `rgb_to_bgr`), ``(x - mean) / std``
    with one value or three, and padding at the right and the bottom with `pad_value`, to the largest image of the
    batch and to a multiple of `pad_size_divisor`. ``data_samples`` is None where the batch has none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float | int] | None = None,
        std: Sequence[float | int] | None = None,
        pad_size_divisor: int = 1,
        pad_value: float | int = 0,
        bgr_to_rgb: bool = False,
        rgb_to_bgr: bool = False,
        non_blocking: bool | None = False,
    ) -> None:
        super().__init__(non_blocking)
        if bgr_to_rgb and rgb_to_bgr:
            raise RuleError(
                "`bgr2rgb` and `rgb2bgr` cannot be set both: ImgDataPreprocessor has bgr_to_rgb=True and "
                "rgb_to_bgr=True, and each of them turns the channels around."
            )
        if (mean is None) != (std is None):
            given, lacking = ("mean", "std") if std is None else ("std", "mean")
            raise RuleError(
                f"mean and std should be given both, to normalise, or none: ImgDataPreprocessor has {given} and no "
                f"{lacking}. mean=[0.0] and std=[1.0] change nothing."
            )
        if pad_size_divisor < 1:
            raise RuleError(f"ImgDataPreprocessor: pad_size_divisor must be at least 1, got {pad_size_divisor!r}.")
        self._enable_normalize = mean is not None
        if mean is not None and std is not None:
            self.register_buffer("mean", _channels("mean", mean), persistent=False)
            self.register_buffer("std", _channels("std", std), persistent=False)
        self._channel_conversion = rgb_to_bgr or bgr_to_rgb
        self.pad_size_divisor = pad_size_divisor
        self.pad_value = pad_value

    def forward(self, data: Any, training: bool = False) -> Any:
        """`data`, a dict with ``inputs``, as the model takes it."""
        data = self.cast_data(data)
        inputs = data.get("inputs") if isinstance(data, dict) else None
        if isinstance(inputs, Tensor):
            data["inputs"] = self._one_tensor(inputs)
        elif isinstance(inputs, (list, tuple)) and inputs and all(isinstance(image, Tensor) for image in inputs):
            images = [self._normalized(image, n) for n, image in enumerate(inputs)]
            data["inputs"] = stack_batch(images, self.pad_size_divisor, self.pad_value)
        else:
            found = f"{type(data).__name__}: {sorted(data)}" if isinstance(data, dict) else type(data).__name__
            held = f", whose inputs are {type(inputs).__name__}" if inputs is not None else ""
            is_missing = isinstance(data, dict) and "inputs" not in data
            raise (ConfigKeyError if is_missing else ConfigTypeError)(
                f"Output of `cast_data` should be a dict with a tensor, or a list of tensors, under 'inputs', for "
                f"{type(self).__name__}, got {found}{held}. The loader's collate_fn and the last transform make it."
            )
        data.setdefault("data_samples", None)
        return data

    def _one_tensor(self, images: Tensor) -> Tensor:
        if images.dim() != 4:
            raise DataRuleError(
                f"{type(self).__name__}: inputs should be a NCHW tensor or a list, got {tuple(images.shape)}. For one "
                "image a sample, of any size, collate with pseudo_collate."
            )
        images = self._normalized(images, None)
        height, width = images.shape[2:]
        below, right = -height % self.pad_size_divisor, -width % self.pad_size_divisor
        return F.pad(images, (0, right, 0, below), "constant", self.pad_value) if below or right else images

    def _normalized(self, image: Tensor, n: int | None) -> Tensor:
        """Image `n` of a list, (C, H, W), or all in one tensor, with its channels in order, as float, normalised."""
        channel = 1 if n is None else 0
        if self._channel_conversion:
            if image.dim() <= channel or image.shape[channel] != 3:
                raise DataError(_not_three("bgr_to_rgb and rgb_to_bgr turn three channels around", image, n))
            image = image.flip(channel)
        image = image.float()
        if not self._enable_normalize:
            return image
        if len(self.mean) == 3 and (image.dim() != channel + 3 or image.shape[channel] != 3):
            raise DataRuleError(_not_three("If the mean has 3 values, images must have 3 channels", image, n))
        return (image - self.mean).div_(self.std)


def _channels(name: str, values: Any) -> Tensor:
    """(1, 1, 1) or (3, 1, 1), float."""
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) not in (1, 3):
        raise RuleError(
            f"`{name}` should have 1 value in ImgDataPreprocessor, for all channels, or 3 in a list, got {values!r}."
        )
    if name == "std" and 0 in values:
        raise RuleError(f"ImgDataPreprocessor: std is divided by and must not be 0, got {values!r}.")
    return torch.tensor(values).view(-1, 1, 1)


def _not_three(why: str, image: Tensor, n: int | None) -> str:
    which = "inputs have" if n is None else f"image {n} of the batch has"
    return f"ImgDataPreprocessor: {why}, but {which} the shape {tuple(image.shape)}, whose channels are not three."
