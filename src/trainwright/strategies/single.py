"""One process, one device."""

from __future__ import annotations

import torch
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.registry import STRATEGIES
from trainwright.strategies.base import BaseStrategy


def default_device() -> torch.device:
    """The current CUDA device, Apple's, or the CPU, in this order."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@STRATEGIES.register_module()
class SingleDeviceStrategy(BaseStrategy):
    """The whole model on one device in one process."""

    @property
    def device(self) -> torch.device:
        """The device of :func:`default_device`, asked for once."""
        if not hasattr(self, "_device"):
            self._device = default_device()
        return self._device

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if self.distributed and self.world_size > 1:
            raise ConfigError(
                f"launcher={self.launcher!r} started {self.world_size} processes, and SingleDeviceStrategy would train "
                "a model of its own in each: leave the strategy out (DDPStrategy), or name DDPStrategy or FSDPStrategy."
            )
        return model.to(self.device)
