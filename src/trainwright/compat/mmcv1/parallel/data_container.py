"""A value that says how a batch is made of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from trainwright.compat.mmcv1.errors import demand


def assert_tensor_type(func: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of methods that only a container of a tensor has."""

    @functools.wraps(func)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self.data, torch.Tensor):
            raise AttributeError(f"{type(self).__name__} has no attribute {func.__name__} for type {self.datatype}")
        return func(self, *args, **kwargs)

    return checked


class DataContainer:
    """`stack`: tensors are stacked, padded with `padding_value` along the last `pad_dims` dimensions (None: not
    padded); otherwise they stay a list. `cpu_only`: it is not moved to a device.
    """

    def __init__(
        self,
        data: Any,
        stack: bool = False,
        padding_value: int = 0,
        cpu_only: bool = False,
        pad_dims: int | None = 2,
    ) -> None:
        demand(pad_dims in (None, 1, 2, 3), f"pad_dims must be None, 1, 2 or 3, got {pad_dims!r}")
        self._data = data
        self._cpu_only = cpu_only
        self._stack = stack
        self._padding_value = padding_value
        self._pad_dims = pad_dims

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.data!r})"

    def __len__(self) -> int:
        return len(self._data)

    @property
    def data(self) -> Any:
        return self._data

    @property
    def datatype(self) -> Any:
        return self.data.type() if isinstance(self.data, torch.Tensor) else type(self.data)

    @property
    def cpu_only(self) -> bool:
        return self._cpu_only

    @property
    def stack(self) -> bool:
        return self._stack

    @property
    def padding_value(self) -> int:
        return self._padding_value

    @property
    def pad_dims(self) -> int | None:
        return self._pad_dims

    @assert_tensor_type
    def size(self, *args: Any, **kwargs: Any) -> Any:
        return self.data.size(*args, **kwargs)

    @assert_tensor_type
    def dim(self) -> Any:
        return self.data.dim()
