"""Tells the message hub where the run is and what the steps returned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from trainwright.base.errors import ConfigTypeError
from trainwright.engine import Hook
from trainwright.registry import HOOKS


def is_scalar(value: Any) -> bool:
    """Whether ``value`` is one number: a Python or NumPy number, or an array or tensor of one element."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return (value.size if isinstance(value, np.ndarray) else value.numel()) == 1
    return isinstance(value, (int, float, np.number))


def is_loss(name: str) -> bool:
    """Whether a metric of that full name is a training loss, which must be finite."""
    return name.startswith("train/") and "loss" in name


@HOOKS.register_module()
class RuntimeInfoHook(Hook):
    """Keeps ``epoch``, ``iter``, ``max_epochs``, ``max_iters``, ``loop_stage``, the learning rates, the outputs of
    training steps and the metrics of evaluations in ``runner.message_hub`` (API of mmengine's RuntimeInfoHook).

    With ``check_finite`` a training loss that is NaN or infinite raises NonFiniteLossError when logged values are next
    read: at the log interval, and before every checkpoint.
    """

    priority = "VERY_HIGH"

    def __init__(self, check_finite: bool = True) -> None:
        self.check_finite = check_finite
        self.last_loop_stage: str | None = None

    def before_run(self, runner: Any) -> None:
        """Put down config, seed, name and version, and switch the check on."""
        from trainwright import __version__

        info = {
            "cfg": runner.cfg.pretty_text,
            "seed": runner.seed,
            "experiment_name": runner.experiment_name,
            "trainwright_version": __version__,
        }
        runner.message_hub.update_info_dict(info)
        runner.ctx.metrics.must_be_finite = is_loss if self.check_finite else None
        self.last_loop_stage = None

    def before_train(self, runner: Any) -> None:
        """Put down where training begins."""
        hub = runner.message_hub
        hub.update_info("loop_stage", "train")
        for name in ("epoch", "iter", "max_epochs", "max_iters"):
            hub.update_info(name, getattr(runner, name))
        metainfo = getattr(getattr(runner.train_dataloader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            hub.update_info("dataset_meta", metainfo)

    def after_train(self, runner: Any) -> None:
        """Leave the stage."""
        runner.message_hub.pop_info("loop_stage")

    def before_train_epoch(self, runner: Any) -> None:
        """Put down the epoch."""
        runner.message_hub.update_info("epoch", runner.epoch)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Put down the iteration and the learning rate of each optimizer's first group."""
        runner.message_hub.update_info("iter", runner.iter)
        rates = runner.optim_wrapper.get_lr()
        if not isinstance(rates, dict):
            raise ConfigTypeError(
                f"optim_wrapper.get_lr() must return a dict of lists, but gave {type(rates).__name__}: does your "
                "optimizer constructor return an OptimWrapper or an OptimWrapperDict?"
            )
        runner.ctx.metrics.put("train", {name: values[0] for name, values in rates.items()})

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Put down what the step returned, as device tensors."""
        if outputs is not None:
            runner.ctx.metrics.put("train", outputs)

    def before_val(self, runner: Any) -> None:
        """Enter the stage, remembering the one around it."""
        self.last_loop_stage = runner.message_hub.get_info("loop_stage")
        runner.message_hub.update_info("loop_stage", "val")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put down the metrics."""
        self._put(runner, "val", metrics)

    def after_val(self, runner: Any) -> None:
        """Go back to the stage around validation."""
        if self.last_loop_stage == "train":
            runner.message_hub.update_info("loop_stage", self.last_loop_stage)
            self.last_loop_stage = None
        else:
            runner.message_hub.pop_info("loop_stage")

    def before_test(self, runner: Any) -> None:
        """Enter the stage."""
        runner.message_hub.update_info("loop_stage", "test")

    def after_test(self, runner: Any) -> None:
        """Leave the stage."""
        runner.message_hub.pop_info("loop_stage")

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put down the metrics."""
        self._put(runner, "test", metrics)

    @staticmethod
    def _put(runner: Any, stage: str, metrics: dict[str, Any] | None) -> None:
        for name, value in (metrics or {}).items():
            if is_scalar(value):
                runner.message_hub.update_scalar(f"{stage}/{name}", value)
            else:
                runner.message_hub.update_info(f"{stage}/{name}", value)
