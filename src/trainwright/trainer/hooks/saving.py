"""Checkpoints: every so many iterations, and of the best evaluation."""

from __future__ import annotations

import logging
import math
import operator
from typing import Any, ClassVar

from trainwright.base.errors import ConfigError
from trainwright.dist import from_main
from trainwright.trainer.checkpointer import PeriodicCheckpointer as _PeriodicCheckpointer
from trainwright.trainer.hook_base import HookBase


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """trainwright.trainer.checkpointer's PeriodicCheckpointer as a hook: it saves after every ``period``-th iteration
    and after the last one. Register it after LRScheduler, whose state it saves."""

    saves_state = True

    def before_train(self) -> None:
        """Take over when training ends."""
        self.max_iter = self.trainer.max_iter
        _check_ranks(self.trainer, self.checkpointer)

    def after_step(self) -> None:
        """Save, when it is time."""
        self.step(self.trainer.iter)


def _check_ranks(trainer: Any, checkpointer: Any) -> None:
    if getattr(trainer, "saves_apart", False) and hasattr(checkpointer, "refuse_some_ranks"):
        checkpointer.refuse_some_ranks()


class BestCheckpointer(HookBase):
    """Saves ``file_prefix`` whenever the evaluation's ``val_metric`` is better than ever; register it after EvalHook.

    ``eval_period`` is that of EvalHook; better is more with ``mode="max"``, less with ``"min"``. One that is NaN or
    infinite is never the best. Where all ranks have this hook, rank 0's metric counts.
    """

    saves_state = True
    logger_name: ClassVar[str] = "trainwright.trainer"

    def __init__(
        self, eval_period: int, checkpointer: Any, val_metric: str, mode: str = "max", file_prefix: str = "model_best"
    ) -> None:
        if mode not in ("max", "min"):
            raise BestModeError(f"BestCheckpointer mode must be 'max' or 'min', but got {mode!r}.")
        self._logger = logging.getLogger(self.logger_name)
        self._period = eval_period
        self._val_metric = val_metric
        self._compare = operator.gt if mode == "max" else operator.lt
        self._checkpointer = checkpointer
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def _update_best(self, val: float, iteration: int) -> bool:
        if not math.isfinite(val):
            return False
        self.best_metric, self.best_iter = val, iteration
        return True

    def _newest(self) -> tuple[float, int] | None:
        found: tuple[float, int] | None = self.trainer.storage.latest().get(self._val_metric)
        return found

    def _best_checking(self) -> None:
        # Ranks that save together must agree, and a metric may be known to rank 0 alone.
        found = from_main(self._newest) if self.trainer.saves_together else self._newest()
        if found is None:
            self._logger.warning(
                f"BestCheckpointer saved nothing at iteration {self.trainer.iter}: {self._val_metric!r} is not among "
                "the metrics so far. Does EvalHook come before it, with the same period?"
            )
            return
        value, at = found
        before = self.best_metric
        if before is not None and not self._compare(value, before):
            self._logger.info(
                f"{self._val_metric} is {value:.5f} at iteration {at}; {before:.5f} of iteration {self.best_iter} "
                "stays the best."
            )
        elif self._update_best(value, at):
            # What is saved is the state of now; after training a metric stands one iteration behind the last.
            self._checkpointer.save(self._file_prefix, iteration=self.trainer.finished_iters - 1)
            self._logger.info(f"{self._val_metric} is {value:.5f} at iteration {at}, the best so far: saved.")

    def before_train(self) -> None:
        """Find out whether this rank can save."""
        _check_ranks(self.trainer, self._checkpointer)

    def after_step(self) -> None:
        """As EvalHook does: not at the last iteration, which is after_train's."""
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._best_checking()

    def after_train(self) -> None:
        """Look at the last evaluation, unless training broke off."""
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._best_checking()

    def state_dict(self) -> dict[str, Any]:
        """The best metric so far, and its iteration."""
        return {"best_metric": self.best_metric, "best_iter": self.best_iter}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best_metric, self.best_iter = state_dict["best_metric"], state_dict["best_iter"]


class BestModeError(ConfigError, AssertionError):
    """A direction that there is not."""
