"""SimpleTrainer with automatic mixed precision (API of detectron2's AMPTrainer)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.optim import AmpOptimWrapper, OptimWrapper
from trainwright.strategies import BaseStrategy
from trainwright.trainer.events import get_event_storage
from trainwright.trainer.simple import Losses, SimpleTrainer


class AMPTrainer(SimpleTrainer):
    """SimpleTrainer with automatic mixed precision: autocast to ``precision`` around the forward, and a scaled loss.

    ``grad_scaler`` None makes one for float16, which alone needs it. ``log_grad_scaler`` puts its scale as
    ``[metric]grad_scaler``. Any device with autocast will do, the CPU with bfloat16 among them.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Any,
        optimizer: Any,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
        *,
        strategy: BaseStrategy | None = None,
        resume_data: str = "exact",
    ) -> None:
        if isinstance(model, nn.DataParallel):
            raise ConfigError("AMPTrainer cannot train a DataParallel model: train in a process a device, with DDP.")
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler
        self._given_scaler = grad_scaler
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period,
            zero_grad_before_forward,
            async_write_metrics,
            strategy=strategy,
            resume_data=resume_data,
        )
        if grad_scaler is not None and strategy is None:
            self.grad_scaler = grad_scaler

    def _wrap(self, optimizer: Any) -> Any:
        settings = self._wrapper_settings(optimizer)
        return AmpOptimWrapper(optimizer=optimizer, dtype=settings["dtype"]) if settings else optimizer

    def _wrapper_settings(self, optimizer: Any) -> dict[str, Any]:
        if isinstance(optimizer, AmpOptimWrapper):
            return {}
        if isinstance(optimizer, OptimWrapper):
            raise ConfigError(
                f"AMPTrainer needs an AmpOptimWrapper, or a plain optimizer, but got {type(optimizer).__name__}: give "
                "AmpOptimWrapper(optimizer=..., dtype=..., accumulative_counts=...)."
            )
        settings = {"type": "AmpOptimWrapper", "dtype": self.precision}
        if self._given_scaler is not None:  # a strategy makes one with its settings, which agrees between ranks
            settings["loss_scale"] = _settings_of(self._given_scaler)
        return settings

    @property
    def grad_scaler(self) -> torch.amp.GradScaler:
        """What scales the loss."""
        return self.optim_wrapper.loss_scaler  # type: ignore[attr-defined,no-any-return]

    @grad_scaler.setter
    def grad_scaler(self, scaler: torch.amp.GradScaler) -> None:
        self.optim_wrapper.loss_scaler = scaler  # type: ignore[attr-defined]

    def _tell(self, overrides: set[str], losses: torch.Tensor, loss_dict: Losses, data_time: float) -> None:
        if self.log_grad_scaler:
            scale = self.optim_wrapper.loss_scale_tensor()
            get_event_storage().put_scalar("[metric]grad_scaler", 1.0 if scale is None else scale)
        super()._tell(overrides, losses, loss_dict, data_time)


def _settings_of(scaler: torch.amp.GradScaler) -> dict[str, Any]:
    if not scaler.is_enabled():
        return {"enabled": False}
    names = ("growth_factor", "backoff_factor", "growth_interval")
    state = scaler.state_dict()
    return {"enabled": True, "init_scale": state["scale"], **{name: state[name] for name in names}}
