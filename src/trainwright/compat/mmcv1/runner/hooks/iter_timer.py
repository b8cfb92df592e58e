"""Times iterations."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook


@HOOKS.register_module()
class IterTimerHook(Hook):
    """Logs ``data_time``, up to the begin of an iteration, and ``time``, of the whole of it, in seconds.

    Host time: on a GPU single iterations are times of launching work, their sum is real.
    """

    def __init__(self) -> None:
        self.t = perf_counter()

    def before_epoch(self, runner: Any) -> None:
        """What was before the epoch belongs to no iteration."""
        self.t = perf_counter()

    def before_iter(self, runner: Any) -> None:
        """Log how long the batch took."""
        runner.log_buffer.update({"data_time": perf_counter() - self.t})

    def after_iter(self, runner: Any) -> None:
        """Log how long the iteration took."""
        runner.log_buffer.update({"time": perf_counter() - self.t})
        self.t = perf_counter()
