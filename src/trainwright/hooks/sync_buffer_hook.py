"""Makes the buffers of the model, such as running means, the same on all ranks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from trainwright.dist import all_reduce_params, is_distributed
from trainwright.engine import Hook
from trainwright.registry import HOOKS


@HOOKS.register_module()
class SyncBuffersHook(Hook):
    """Averages buffers over the ranks after each training epoch, and before a validation inside one (API of mmengine's
    SyncBuffersHook). Means of whole numbers lose their fraction; truth values stay as they are."""

    priority = "NORMAL"

    def __init__(self) -> None:
        self.called_in_train = False
        self._distributed: bool | None = None

    @property
    def distributed(self) -> bool:
        """Whether there are other ranks; what is set here holds instead."""
        return is_distributed() if self._distributed is None else self._distributed

    @distributed.setter
    def distributed(self, value: bool) -> None:
        self._distributed = value

    def before_val_epoch(self, runner: Any) -> None:
        """Average, unless the end of the epoch just did."""
        if not self.called_in_train and self.distributed:
            average_buffers(runner.model.buffers())
        self.called_in_train = False

    def after_train_epoch(self, runner: Any) -> None:
        """Average."""
        if self.distributed:
            average_buffers(runner.model.buffers())
        self.called_in_train = True

    def state_dict(self) -> dict[str, Any]:
        """Whether the buffers were averaged already: a validation that a resume makes up for must not do it again,
        because a mean of equal numbers may differ from them in the last bit."""
        return {"called_in_train": self.called_in_train}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self.called_in_train = state["called_in_train"]


def average_buffers(buffers: Iterable[torch.Tensor]) -> None:
    """Replace each tensor by its mean over all ranks, which all call this; one message a dtype and device."""
    numbers = (buffer.detach() for buffer in buffers if buffer.dtype is not torch.bool)
    all_reduce_params([torch.view_as_real(one) if one.is_complex() else one for one in numbers], op="mean")
