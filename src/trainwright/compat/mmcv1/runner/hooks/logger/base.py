"""What the logger hooks of MMCV 1.x share: when a line is due, and what is in it."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from trainwright.base.errors import ConfigError
from trainwright.base.optional import require
from trainwright.compat.mmcv1.runner.dist_utils import master_only
from trainwright.compat.mmcv1.runner.hooks.hook import Hook


class LoggerHook(Hook):
    """Calls ``log(runner)`` every ``interval`` iterations of an epoch (``by_epoch``) or of the run, after each epoch
    in which something is left to be logged, and after validation.

    Without ``ignore_last`` the last iteration of an epoch is logged too. With ``reset_flag`` the output of the log
    buffer is emptied behind it: the last of several loggers does that, whichever was asked to.
    """

    def __init__(
        self, interval: int = 10, ignore_last: bool = True, reset_flag: bool = False, by_epoch: bool = True
    ) -> None:
        self.interval = interval
        self.ignore_last = ignore_last
        self.reset_flag = reset_flag
        self.by_epoch = by_epoch

    def log(self, runner: Any) -> Any:
        """Write what is in ``runner.log_buffer.output``."""
        raise NotImplementedError(f"{type(self).__name__} must write the line in log(runner)")

    def package(self, name: str, pip: str, extra: str | None = None) -> ModuleType:
        """The package that this logger writes with, or MissingExtraError."""
        return require(name, extra, type(self).__name__, f"pip install {pip}")

    @staticmethod
    def is_scalar(val: Any, include_np: bool = True, include_torch: bool = True) -> bool:
        """Whether ``val`` is a number, a NumPy array ``()`` or a tensor of one element."""
        if isinstance(val, numbers.Number):
            return True
        if isinstance(val, np.ndarray):
            return include_np and val.ndim == 0
        return include_torch and isinstance(val, torch.Tensor) and val.numel() == 1

    def get_mode(self, runner: Any) -> str:
        """'train' or 'val': a validation inside training has no ``time`` in the log buffer."""
        if runner.mode == "train":
            return "train" if "time" in runner.log_buffer.output else "val"
        if runner.mode == "val":
            return "val"
        raise ConfigError(f"the mode of a runner that logs must be 'train' or 'val', got {runner.mode!r}")

    def get_epoch(self, runner: Any) -> int:
        """The running epoch from 1, or the one that a validation comes after."""
        if runner.mode == "train":
            return int(runner.epoch + 1)
        if runner.mode == "val":
            return int(runner.epoch)
        raise ConfigError(f"the mode of a runner that logs must be 'train' or 'val', got {runner.mode!r}")

    def get_iter(self, runner: Any, inner_iter: bool = False) -> int:
        """The running iteration from 1; with ``inner_iter``, and by epoch, in its epoch."""
        return int((runner.inner_iter if self.by_epoch and inner_iter else runner.iter) + 1)

    def get_lr_tags(self, runner: Any) -> dict[str, float]:
        """``learning_rate`` of the first group, or ``learning_rate/name`` of each of several optimizers."""
        return _first_of_each("learning_rate", runner.current_lr())

    def get_momentum_tags(self, runner: Any) -> dict[str, float]:
        """``momentum`` of the first group, or ``momentum/name`` of each of several optimizers."""
        return _first_of_each("momentum", runner.current_momentum())

    def get_loggable_tags(
        self,
        runner: Any,
        allow_scalar: bool = True,
        allow_text: bool = False,
        add_mode: bool = True,
        tags_to_skip: Sequence[str] = ("time", "data_time"),
    ) -> dict[str, Any]:
        """What the log buffer has put out, as ``mode/name``, and the learning rate and momentum."""
        tags: dict[str, Any] = {}
        for name, value in runner.log_buffer.output.items():
            if name in tags_to_skip or (not allow_scalar and self.is_scalar(value)):
                continue
            if isinstance(value, str) and not allow_text:
                continue
            tags[f"{self.get_mode(runner)}/{name}" if add_mode else name] = value
        tags.update(self.get_lr_tags(runner))
        tags.update(self.get_momentum_tags(runner))
        return tags

    def before_run(self, runner: Any) -> None:
        """Have the last logger empty the output; on rank 0 open what is written to."""
        last = next((hook for hook in reversed(runner.hooks) if isinstance(hook, LoggerHook)), None)
        if last is not None:
            last.reset_flag = True
        self._open(runner)

    @master_only
    def _open(self, runner: Any) -> None:
        self._begin(runner)

    def _begin(self, runner: Any) -> None:
        """What a tracker needs before the first line, on rank 0 alone."""

    def before_epoch(self, runner: Any) -> None:
        """Begin without what the last epoch has left."""
        runner.log_buffer.clear()

    def after_train_iter(self, runner: Any) -> None:
        """Log, where a line is due or another hook has put something out."""
        every = self.every_n_inner_iters if self.by_epoch else self.every_n_iters
        if every(runner, self.interval) or (not self.ignore_last and self.end_of_epoch(runner)):
            runner.log_buffer.average(self.interval)
        if runner.log_buffer.ready:
            self._log(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Log what is left."""
        if runner.log_buffer.ready:
            self._log(runner)

    def after_val_epoch(self, runner: Any) -> None:
        """Log the means over the epoch."""
        runner.log_buffer.average()
        self._log(runner)

    def _log(self, runner: Any) -> None:
        self.log(runner)
        if self.reset_flag:
            runner.log_buffer.clear_output()


def _first_of_each(name: str, values: Any) -> dict[str, float]:
    if isinstance(values, dict):
        return {f"{name}/{key}": each[0] for key, each in values.items()}
    return {name: values[0]}
