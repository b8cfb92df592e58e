"""Tells the message hub where the run is and what the steps returned."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from trainwright.base.defaults import defaults
from trainwright.base.errors import RuleTypeError
from trainwright.engine import Hook
from trainwright.engine.by_hand import by_hand, is_run
from trainwright.engine.hook import DATA_BATCH
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import HOOKS


def is_scalar(value: Any) -> bool:
    """Whether ``value`` is one number: a Python or NumPy number, or an array or tensor of one element."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return (value.size if isinstance(value, np.ndarray) else value.numel()) == 1
    return isinstance(value, (int, float, np.number))


_is_scalar = is_scalar  # MMEngine's name


def _rates_of(wrapper: Any) -> dict[str, Any]:
    rates = wrapper.get_lr()
    if not isinstance(rates, dict):
        raise RuleTypeError(
            "`runner.optim_wrapper.get_lr()` should return a dict of learning rate when training with "
            f"OptimWrapper(single optimizer) or OptimWrapperDict(multiple optimizer), but got {type(rates)}: does your "
            "optimizer constructor return one of these?"
        )
    return rates


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
        self._is_called = True  # by hand: no training has begun
        self._optimizer: Any = None
        self._rates: list[Any] = []

    def before_run(self, runner: Any) -> None:
        """Put down config, seed, name and version, and switch the check on."""
        from trainwright.base.version import MMENGINE_VERSION, __version__

        info = {
            "cfg": runner.cfg.pretty_text,
            "seed": runner.seed,
            "experiment_name": runner.experiment_name,
            "trainwright_version": __version__,
            "mmengine_version": MMENGINE_VERSION,
        }
        if defaults.package == "mmengine":  # only there: it starts a process
            from trainwright.utils.version_utils import get_git_hash

            info["mmengine_version"] += get_git_hash(fallback="")
        runner.message_hub.update_info_dict(info)
        if is_run(runner):
            runner.ctx.metrics.must_be_finite = is_loss if self.check_finite else None
        self.last_loop_stage = None

    def before_train(self, runner: Any) -> None:
        """Put down where training is; the counters are read from the clock whenever somebody asks."""
        hub = runner.message_hub
        hub.update_info("loop_stage", "train")
        loader = runner.train_loop.dataloader if is_run(runner) else runner.train_dataloader
        hub.update_info_dict({name: getattr(runner, name) for name in ("epoch", "iter", "max_epochs", "max_iters")})
        if is_run(runner) and runner.ctx.open_phases:
            self._is_called = False
            clock = runner.ctx.clock
            self._optimizer = self._only_optimizer(runner.optim_wrapper)
            if self._optimizer is not None:
                self._rates = runner.ctx.metrics.rows("train", "lr")
            hub.live.update(epoch=lambda: clock.epoch, iter=lambda: clock.iter)
        metainfo = getattr(getattr(loader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            hub.update_info("dataset_meta", metainfo)

    @by_hand
    def before_train_epoch(self, runner: Any) -> None:
        """Put down the epoch."""
        if self._is_called:
            runner.message_hub.update_info("epoch", runner.epoch)

    @by_hand
    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Put down the iteration, and the learning rate of each optimizer's first group."""
        if self._is_called:
            runner.message_hub.update_info("iter", runner.iter)
            for name, rates in _rates_of(runner.optim_wrapper).items():
                runner.message_hub.update_scalar(f"train/{name}", rates[0])

    @staticmethod
    def _only_optimizer(wrapper: Any) -> Any:
        """The optimizer, where asking it for its one rate is the same as the wrapper's get_lr(); otherwise None."""
        rates = _rates_of(wrapper)
        # A rate that is a tensor is changed in place by schedulers: the store must copy it.
        plain = list(rates) == ["lr"] and not isinstance(rates["lr"][0], torch.Tensor)
        plain = plain and getattr(type(wrapper), "get_lr", None) is BaseOptimWrapper.get_lr
        return wrapper.optimizer if plain else None

    def after_train(self, runner: Any) -> None:
        """Leave the stage."""
        runner.message_hub.pop_info("loop_stage")

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Put down the learning rate of each optimizer's first group, and what the step returned as device tensors.

        The rate is the one that this iteration used: schedulers step later in this event.
        """
        optimizer = self._optimizer
        if optimizer is None and self._is_called:
            self._put(runner, "train", outputs)
            return
        ctx = runner.ctx
        if optimizer is None:
            ctx.metrics.put("train", {name: rates[0] for name, rates in runner.optim_wrapper.get_lr().items()})
        else:
            self._rates.append((ctx.clock.iter, 1, optimizer.param_groups[0]["lr"]))
        if outputs is not None:
            ctx.metrics.put("train", outputs)

    def before_val(self, runner: Any) -> None:
        """Enter the stage, remembering the one around it."""
        self.last_loop_stage = runner.message_hub.get_info("loop_stage")
        runner.message_hub.update_info("loop_stage", "val")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Put down the metrics."""
        self._put(runner, "val", metrics)

    def after_val(self, runner: Any) -> None:
        """Go back to the stage around validation."""
        around, self.last_loop_stage = self.last_loop_stage, None
        if around == "train":
            runner.message_hub.update_info("loop_stage", around)
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
