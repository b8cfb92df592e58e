"""Gives cached device memory back."""

from __future__ import annotations

from typing import Any

import torch

from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook


@HOOKS.register_module()
class EmptyCacheHook(Hook):
    """Empties the cache of the CUDA device before or after each epoch, or after each iteration."""

    def __init__(self, before_epoch: bool = False, after_epoch: bool = True, after_iter: bool = False) -> None:
        self._before_epoch = before_epoch
        self._after_epoch = after_epoch
        self._after_iter = after_iter

    def after_iter(self, runner: Any) -> None:
        """Empty when asked to."""
        if self._after_iter:
            torch.cuda.empty_cache()

    def before_epoch(self, runner: Any) -> None:
        """Empty when asked to."""
        if self._before_epoch:
            torch.cuda.empty_cache()

    def after_epoch(self, runner: Any) -> None:
        """Empty when asked to."""
        if self._after_epoch:
            torch.cuda.empty_cache()

    def idle_at(self, stage: str) -> bool:
        """In each iteration, unless asked for that."""
        return type(self) is EmptyCacheHook and stage.endswith("_iter") and not self._after_iter
