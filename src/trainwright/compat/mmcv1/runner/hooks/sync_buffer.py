"""Makes the buffers of the model, such as running means, the same on all ranks."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook
from trainwright.hooks.sync_buffer_hook import average_buffers


@HOOKS.register_module()
class SyncBuffersHook(Hook):
    """Averages the buffers over the ranks after each epoch, unless ``distributed`` is False. Means of whole numbers
    lose their fraction; truth values stay as they are."""

    def __init__(self, distributed: bool = True) -> None:
        self.distributed = distributed

    def after_epoch(self, runner: Any) -> None:
        """Average."""
        if self.distributed:
            average_buffers(runner.model.buffers())
