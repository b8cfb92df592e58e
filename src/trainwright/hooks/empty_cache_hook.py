"""Gives cached device memory back."""

from __future__ import annotations

from typing import Any

import torch

from trainwright.device import is_cuda_available
from trainwright.engine import NEVER, Hook
from trainwright.engine.hook import DATA_BATCH
from trainwright.registry import HOOKS


@HOOKS.register_module()
class EmptyCacheHook(Hook):
    """Gives the memory that torch caches on the device back, before or after every epoch or after every iteration, of
    training, validation and test alike (API of mmengine's EmptyCacheHook). It makes the next step slower."""

    priority = "NORMAL"

    def __init__(self, before_epoch: bool = False, after_epoch: bool = True, after_iter: bool = False) -> None:
        self._do_before_epoch = before_epoch
        self._do_after_epoch = after_epoch
        self._do_after_iter = after_iter

    def _before_epoch(self, runner: Any, mode: str = "train") -> None:
        """Empty when asked to."""
        if self._do_before_epoch:
            empty_cache()

    def _after_epoch(self, runner: Any, mode: str = "train") -> None:
        """Empty when asked to."""
        if self._do_after_epoch:
            empty_cache()

    def _after_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        """Empty when asked to."""
        if self._do_after_iter:
            empty_cache()

    def next_train_iter(self, runner: Any) -> int | None:
        """Every iteration, or none."""
        return None if self._do_after_iter else NEVER


def empty_cache() -> None:
    """Empty the cache of the device; on a CPU there is none."""
    if is_cuda_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
