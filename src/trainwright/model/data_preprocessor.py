"""From a collated batch to what the model's forward takes: here only the copy to the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainwright.registry import MODELS


@MODELS.register_module()
class BaseDataPreprocessor(nn.Module):
    """Moves a batch to the device on which the module was put last, with the model that it belongs to.

    `non_blocking`: copy from pinned memory without waiting. Normalisation, padding and stacking belong into a subclass
    that overrides ``forward``.
    """

    def __init__(self, non_blocking: bool | None = False) -> None:
        super().__init__()
        self._non_blocking = bool(non_blocking)
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
            return data.to(self._device, non_blocking=self._non_blocking)
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
            return data.to(self._device, non_blocking=self._non_blocking)
        return data

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> BaseDataPreprocessor:
        # Every way to move a module, or the model around it, ends here: to, cuda, cpu, to_empty.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._device = fn(torch.empty(0, device=self._device)).device
        self._is_cpu = self._device.type == "cpu"
        return self
