"""One process, one device."""

from __future__ import annotations

from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.model import revert_sync_batchnorm
from trainwright.registry import STRATEGIES
from trainwright.strategies.base import BaseStrategy


@STRATEGIES.register_module()
class SingleDeviceStrategy(BaseStrategy):
    """The whole model on one device in one process."""

    def convert_model(self, model: nn.Module) -> nn.Module:
        """The model with ordinary batch norms in place of those that exchange their statistics between ranks."""
        if not any(type(module).__name__ == "SyncBatchNorm" for module in model.modules()):
            return model
        self.logger.info("with one process every SyncBatchNorm of the model is an ordinary batch norm")
        return revert_sync_batchnorm(model)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if self.distributed and self.world_size > 1:
            raise ConfigError(
                f"launcher={self.launcher!r} started {self.world_size} processes, and SingleDeviceStrategy would train "
                "a model of its own in each: leave the strategy out (DDPStrategy), or name DDPStrategy or FSDPStrategy."
            )
        return self.convert_model(model).to(self.device)
