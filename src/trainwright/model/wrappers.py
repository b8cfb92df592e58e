"""Wrappers around a model that is trained by several processes."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.model.base_model import BaseModel
from trainwright.model.utils import detect_anomalous_params
from trainwright.registry import MODEL_WRAPPERS

_HAS_NEW_NAME = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters


@MODEL_WRAPPERS.register_module()
class MMDistributedDataParallel(DistributedDataParallel):
    """``DistributedDataParallel`` with the steps of a model (API of mmengine's MMDistributedDataParallel).

    ``train_step`` goes through the wrapper's forward, so that gradients are averaged over the ranks; ``val_step`` and
    ``test_step`` are the model's own. `detect_anomalous_params`: log in every iteration which parameters the loss does
    not depend on; slow. The other arguments are those of torch's class.

    A model with a ``train_step`` of its own is refused: this one would take its place.
    """

    def __init__(self, module: nn.Module, detect_anomalous_params: bool = False, **kwargs: Any) -> None:
        own = getattr(type(module), "train_step", BaseModel.train_step)
        if type(self).train_step is MMDistributedDataParallel.train_step and own is not BaseModel.train_step:
            raise ConfigError(
                f"{type(module).__name__} has a train_step of its own, and {type(self).__name__} would not call it: "
                "the wrapper's goes through the forward that averages gradients. Write what is special into "
                "forward(mode='loss'), or derive a wrapper with a train_step and name it: "
                "model_wrapper_cfg=dict(type=...)."
            )
        if "broadcast_buffers" in kwargs and _HAS_NEW_NAME:
            kwargs["forward_sync_buffers"] = kwargs.pop("broadcast_buffers")
        super().__init__(module, **kwargs)
        self.detect_anomalous_params = detect_anomalous_params

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """One optimisation step on this rank's batch; this rank's loss terms, and their sum 'loss'."""
        with optim_wrapper.optim_context(self):
            losses = self._run_forward(self.module.data_preprocessor(data, True), mode="loss")
        total, log_vars = self.module.parse_losses(losses)
        optim_wrapper.update_params(total)
        if self.detect_anomalous_params:
            detect_anomalous_params(total, model=self)
        return log_vars  # type: ignore[no-any-return]

    def val_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.module.test_step(data)

    def _run_forward(self, data: Any, mode: str) -> Any:
        return run_forward(self, data, mode)


def run_forward(wrapper: Any, data: Any, mode: str) -> Any:
    """The forward of a wrapper, in which the batch `data` becomes arguments of the model's."""
    if isinstance(data, dict):
        return wrapper(**data, mode=mode)
    if isinstance(data, (list, tuple)):
        return wrapper(*data, mode=mode)
    raise ConfigTypeError(
        f"{type(wrapper.module).__name__}: a batch must be a dict (keyword arguments of forward), a list or a tuple "
        f"(positional arguments), got {type(data).__name__}; change the collate_fn or the data_preprocessor"
    )
