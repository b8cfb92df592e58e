"""A hook that ends its own process, for configs to import: an interruption at a place that is the same each time."""

from __future__ import annotations

import os
import signal
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class StoppingHook(Hook):
    """After so many iterations the process sends itself a signal, as an operator or a cluster would; once only."""

    priority = "LOWEST"

    def __init__(self, after: int, signal_name: str) -> None:
        self.after = after
        self.signal = getattr(signal, signal_name)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.after:
            os.kill(os.getpid(), self.signal)
