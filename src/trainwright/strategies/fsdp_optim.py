"""What an optimizer's step must know of gradients in parts: overflow elsewhere, and parameters of two kinds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trainwright import dist
from trainwright.base.errors import ConfigError


class AgreeingGradScaler(torch.amp.GradScaler):
    """A ``GradScaler`` for gradients in parts: where one overflowed on one rank, all of them leave the step out."""

    def _unscale_grads_(
        self, optimizer: Optimizer, inv_scale: Tensor, found_inf: Tensor, allow_fp16: bool
    ) -> dict[torch.device, Tensor]:
        by_kind: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for gradient in _gradients(optimizer):
            if not allow_fp16 and gradient.dtype is torch.float16:
                raise ValueError("gradients in float16 cannot be unscaled: keep the parameters in float32.")
            by_kind.setdefault((gradient.device, gradient.dtype), []).append(gradient)
        found: dict[torch.device, Tensor] = {}
        with torch.no_grad():
            for (device, _), gradients in by_kind.items():
                flag = found.setdefault(device, found_inf.to(device, copy=True))
                torch._amp_foreach_non_finite_check_and_unscale_(gradients, flag, inv_scale.to(device))
            for flag in found.values():
                dist.all_reduce(flag, "max")
        return found


def agree_on_overflow(wrapper: Any) -> None:
    """Have a wrapper that scales its loss step only where no rank has seen an overflow."""
    scaler = getattr(wrapper, "loss_scaler", None)
    if not isinstance(scaler, torch.amp.GradScaler) or not scaler.is_enabled():
        return
    state = scaler.state_dict()
    wrapper.loss_scaler = AgreeingGradScaler(
        scaler._device,
        init_scale=state["scale"],
        growth_factor=state["growth_factor"],
        backoff_factor=state["backoff_factor"],
        growth_interval=state["growth_interval"],
    )


def step_one_by_one(optimizer: Optimizer) -> None:
    """Let a step go from parameter to parameter in groups that have both sharded and whole ones: torch's forms for many
    at once take tensors of one kind."""
    for group in optimizer.param_groups:
        if len({_kind(param) for param in group["params"]}) < 2:
            continue
        for form in ("foreach", "fused"):
            if group.get(form):
                raise ConfigError(
                    f"the optimizer has {form}=True, and a parameter group with both sharded parameters and some that "
                    f"are whole on every rank, for which torch has no such form: leave {form} out, or put them into "
                    "groups of their own by paramwise_cfg."
                )
            if form in group:
                group[form] = False


def _gradients(optimizer: Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        for param in group["params"]:
            if param.grad is not None:
                gradient = dist.local(param.grad)
                if gradient.is_sparse:
                    gradient = gradient._values()
                yield gradient


def _kind(param: Tensor) -> Any:
    """What torch's forms for many ask of tensors: one mesh, or none; how they are divided over it may differ."""
    return param.device_mesh if dist.is_sharded(param) else None  # type: ignore[attr-defined]
