"""Keeps an average of the model's parameters in its buffers, and evaluates and saves with it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.parallel import is_module_wrapper
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS, Hook
from trainwright.model.averaged_model import exchange


@HOOKS.register_module()
class EMAHook(Hook):
    """``average = (1 - momentum) * average + momentum * parameter`` every ``interval`` iterations.

    The average of a parameter is a buffer of the model, ``ema_`` and its name with ``_`` for dots, and so is saved with
    the model. At the end of an epoch the two change places, and at the begin of the next one again: what comes between,
    an evaluation or a checkpoint, has the average. The momentum is that of so many single steps, and smaller in the
    first ``warm_up`` iterations. ``resume_from`` is a checkpoint to resume from once the buffers are there.
    """

    def __init__(
        self, momentum: float = 0.0002, interval: int = 1, warm_up: int = 100, resume_from: str | None = None
    ) -> None:
        whole = isinstance(interval, int) and interval > 0
        demand(whole, f"EMAHook interval must be a positive integer, got {interval!r}")
        demand(0 < momentum < 1, f"EMAHook momentum must lie between 0 and 1, both left out, got {momentum!r}")
        self.warm_up = warm_up
        self.interval = interval
        self.momentum = momentum**interval
        self.checkpoint = resume_from
        self.param_ema_buffer: dict[str, str] = {}
        self.model_parameters: dict[str, nn.Parameter] = {}
        self.model_buffers: dict[str, torch.Tensor] = {}
        # Between epochs, where a run begins, the two have changed places.
        self._is_swapped = True

    def before_run(self, runner: Any) -> None:
        """Give the model its buffers, then resume."""
        model = runner.model.module if is_module_wrapper(runner.model) else runner.model
        self.model_parameters = dict(model.named_parameters())
        self.param_ema_buffer = {name: f"ema_{name.replace('.', '_')}" for name in self.model_parameters}
        demand(
            len(set(self.param_ema_buffer.values())) == len(self.model_parameters),
            "EMAHook: two parameters differ in dots and underscores alone, so their averages would be one buffer. "
            "Rename one of them",
        )
        for name, parameter in self.model_parameters.items():
            model.register_buffer(self.param_ema_buffer[name], parameter.detach().clone())
        self.model_buffers = dict(model.named_buffers())
        if self.checkpoint is not None:
            runner.resume(self.checkpoint)

    def _pairs(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        averages = [self.model_buffers[buffer] for buffer in self.param_ema_buffer.values()]
        return averages, list(self.model_parameters.values())

    @torch.no_grad()
    def after_train_iter(self, runner: Any) -> None:
        """Take the parameters into the average. No host read."""
        step = runner.iter
        if step % self.interval:
            return
        momentum = self.momentum
        if self.warm_up + step:
            momentum = min(momentum, (1 + step) / (self.warm_up + step))
        averages, parameters = self._pairs()
        if not averages:
            return
        torch._foreach_mul_(averages, 1 - momentum)
        torch._foreach_add_(averages, parameters, alpha=momentum)

    def after_train_epoch(self, runner: Any) -> None:
        """Put the average into the model."""
        self._swap_ema_parameters()
        self._is_swapped = True

    def before_train_epoch(self, runner: Any) -> None:
        """Put the parameters that are trained back; an epoch that is resumed in its middle has them."""
        if self._is_swapped:
            self._swap_ema_parameters()
            self._is_swapped = False

    def _swap_ema_parameters(self) -> None:
        """Exchange parameters and average."""
        exchange(*self._pairs())

    def state_dict(self) -> dict[str, Any]:
        """Where the average is: in the parameters or in the buffers."""
        return {"is_swapped": self._is_swapped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self._is_swapped = state["is_swapped"]
