"""A model in several processes, called with DataContainers."""

from __future__ import annotations

from typing import Any

from torch.nn.parallel.distributed import DistributedDataParallel

from trainwright.compat.mmcv1.parallel.scatter_gather import scatter_kwargs


class MMDistributedDataParallel(DistributedDataParallel):
    """Unpacks DataContainers, and runs the model's `train_step` and `val_step` in place of its `forward`, so that the
    gradients of `train_step` are averaged over the ranks.
    """

    _running: Any = None

    def to_kwargs(self, inputs: Any, kwargs: Any, device_id: int) -> Any:
        return scatter_kwargs(inputs, kwargs, [device_id], dim=self.dim)

    def scatter(self, inputs: Any, kwargs: Any, device_ids: Any) -> Any:
        return scatter_kwargs(inputs, kwargs, device_ids, dim=self.dim)

    def train_step(self, *inputs: Any, **kwargs: Any) -> Any:
        return self._through("train_step", inputs, kwargs)

    def val_step(self, *inputs: Any, **kwargs: Any) -> Any:
        return self._through("val_step", inputs, kwargs)

    def _through(self, name: str, inputs: Any, kwargs: Any) -> Any:
        self._running = getattr(self.module, name)
        try:
            return self.forward(*inputs, **kwargs)  # type: ignore[no-untyped-call]
        finally:
            self._running = None

    def _run_ddp_forward(self, *inputs: Any, **kwargs: Any) -> Any:
        function = self._running or self.module
        positional, named = self.scatter(inputs, kwargs, self.device_ids or [-1])
        with self._inside_ddp_forward():
            return function(*positional[0], **named[0]) if positional else function()
