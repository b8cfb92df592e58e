"""Seconds an iteration."""

from __future__ import annotations

import datetime
import logging
from time import perf_counter
from typing import ClassVar

from trainwright.trainer.hook_base import HookBase


class IterationTimer(HookBase):
    """Puts the seconds of each iteration as ``time``, and logs the average and the total at the end.

    Register it first: then the time of an iteration has its step in it, and not what other hooks do after that. The
    first iterations are slower: the ``warmup_iter``-th is the first that counts.
    """

    logger_name: ClassVar[str] = "trainwright.trainer"

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter
        self._n_done = 0
        self._total_s = 0.0  # spent in the timed iterations
        self._step_began = self._began = perf_counter()

    def before_train(self) -> None:
        """Start anew."""
        self._n_done, self._total_s = 0, 0.0
        self._began = perf_counter()

    def before_step(self) -> None:
        """Start the clock."""
        self._step_began = perf_counter()

    def after_step(self) -> None:
        """Stop it."""
        now = perf_counter()
        self._n_done += 1
        if self._n_done >= self._warmup_iter:
            step_s = now - self._step_began
            self._total_s += step_s
            self.trainer.storage.put_scalar("time", step_s)
        else:
            self._began = now

    def after_train(self) -> None:
        """Log how fast it was."""
        logger = logging.getLogger(self.logger_name)
        total_s = perf_counter() - self._began
        n_timed = self._n_done - max(self._warmup_iter - 1, 0)
        # Scripts read these two lines.
        if n_timed > 0 and self._total_s > 0:
            logger.info(
                f"Overall training speed: {n_timed} iterations in {_duration(self._total_s)} "
                f"({self._total_s / n_timed:.4f} s / it)"
            )
        logger.info(f"Total training time: {_duration(total_s)} ({_duration(total_s - self._total_s)} on hooks)")


def _duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
