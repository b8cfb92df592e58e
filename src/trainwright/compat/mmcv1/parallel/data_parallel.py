"""A model on one device, called with DataContainers."""

from __future__ import annotations

from itertools import chain
from typing import Any

from torch.nn.parallel import DataParallel

from trainwright.base.errors import ConfigError
from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.parallel.scatter_gather import scatter_kwargs


class MisplacedError(ConfigError, RuntimeError):
    """A model that is not where its wrapper wants it."""


class MMDataParallel(DataParallel[Any]):
    """Unpacks DataContainers, for `forward` and for the model's `train_step` and `val_step`; these on one device only:
    for several there is MMDistributedDataParallel.
    """

    def __init__(self, *args: Any, dim: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **{"dim": dim, **kwargs})
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return super().forward(*inputs, **kwargs) if self.device_ids else self._call(self.module, inputs, kwargs)

    def scatter(self, inputs: Any, kwargs: Any, device_ids: Any) -> Any:
        return scatter_kwargs(inputs, kwargs, device_ids, dim=self.dim)

    def train_step(self, *inputs: Any, **kwargs: Any) -> Any:
        self._check_place()
        return self._call(self.module.train_step, inputs, kwargs)

    def val_step(self, *inputs: Any, **kwargs: Any) -> Any:
        self._check_place()
        return self._call(self.module.val_step, inputs, kwargs)

    def _call(self, function: Any, inputs: Any, kwargs: Any) -> Any:
        positional, named = self.scatter(inputs, kwargs, self.device_ids or [-1])
        return function(*positional[0], **named[0]) if positional else function()

    def _check_place(self) -> None:
        if not self.device_ids:
            return
        demand(
            len(self.device_ids) == 1,
            f"MMDataParallel trains on one device and was given {self.device_ids}: name one, device_ids=[0], or use "
            "MMDistributedDataParallel",
        )
        for tensor in chain(self.module.parameters(), self.module.buffers()):
            if tensor.device != self.src_device_obj:
                raise MisplacedError(
                    f"module must have its parameters and buffers on device {self.src_device_obj} (device_ids[0]), and "
                    f"one of them is on {tensor.device}: move the model there before it is wrapped"
                )
