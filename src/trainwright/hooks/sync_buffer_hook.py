"""Makes the buffers of the model, such as running means, the same on all ranks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from trainwright.dist import all_reduce, is_distributed
from trainwright.engine import Hook
from trainwright.registry import HOOKS


@HOOKS.register_module()
class SyncBuffersHook(Hook):
    """Averages buffers over the ranks after each training epoch, and before a validation inside one (API of mmengine's
    SyncBuffersHook). Means of whole numbers lose their fraction; truth values stay as they are."""

    priority = "NORMAL"

    def __init__(self) -> None:
        self.called_in_train = False

    @property
    def distributed(self) -> bool:
        """Whether there are other ranks."""
        return is_distributed()

    def before_val_epoch(self, runner: Any) -> None:
        """Average, unless the end of the epoch just did."""
        if not self.called_in_train:
            average_buffers(runner.model.buffers())
        self.called_in_train = False

    def after_train_epoch(self, runner: Any) -> None:
        """Average."""
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
    if not is_distributed():
        return
    groups: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for buffer in buffers:
        if buffer.dtype is not torch.bool:
            groups.setdefault((buffer.dtype, buffer.device), []).append(buffer)
    for members in groups.values():
        flat = torch.cat([member.detach().reshape(-1) for member in members])
        all_reduce(torch.view_as_real(flat) if flat.is_complex() else flat, "mean")
        parts = flat.split([member.numel() for member in members])
        with torch.no_grad():
            for member, part in zip(members, parts, strict=True):
                member.copy_(part.view_as(member))
