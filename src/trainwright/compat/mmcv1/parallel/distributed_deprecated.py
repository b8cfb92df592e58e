"""The wrapper of several processes that averages nothing by itself: gradients are averaged by allreduce_grads."""

from __future__ import annotations

from typing import Any

from torch import distributed as dist
from torch import nn

from trainwright.compat.mmcv1.parallel.registry import MODULE_WRAPPERS
from trainwright.compat.mmcv1.parallel.scatter_gather import scatter_kwargs


@MODULE_WRAPPERS.register_module()
class MMDistributedDataParallel(nn.Module):
    """Gives all ranks the weights of rank 0, and the model its arguments."""

    def __init__(
        self, module: nn.Module, dim: int = 0, broadcast_buffers: bool = True, bucket_cap_mb: float = 25
    ) -> None:
        super().__init__()
        self.module: Any = module
        self.dim = dim
        self.broadcast_buffers = broadcast_buffers
        self.broadcast_bucket_size = bucket_cap_mb * 1024 * 1024
        self._sync_params()

    def _sync_params(self) -> None:
        for tensor in self.module.state_dict().values():
            dist.broadcast(tensor, 0)
        if self.broadcast_buffers:  # some of them are not part of the state
            for buffer in self.module.buffers():
                dist.broadcast(buffer.data, 0)

    def scatter(self, inputs: Any, kwargs: Any, device_ids: Any) -> Any:
        return scatter_kwargs(inputs, kwargs, device_ids, dim=self.dim)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self._call(self.module, inputs, kwargs)

    def train_step(self, *inputs: Any, **kwargs: Any) -> Any:
        return self._call(self.module.train_step, inputs, kwargs)

    def val_step(self, *inputs: Any, **kwargs: Any) -> Any:
        return self._call(self.module.val_step, inputs, kwargs)

    def _call(self, function: Any, inputs: Any, kwargs: Any) -> Any:
        device = next(self.module.parameters()).device
        positional, named = self.scatter(inputs, kwargs, [device.index if device.type == "cuda" else -1])
        return function(*positional[0], **named[0]) if positional else function()
