"""Mixed precision: autocast for the forward pass, a scaled loss where half precision needs one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError
from trainwright.base.text import did_you_mean
from trainwright.device import get_device
from trainwright.optim.wrapper import NOTHING, OptimWrapper
from trainwright.registry import OPTIM_WRAPPERS

_LOW = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_DTYPES = {**_LOW, "float32": torch.float32, "float64": torch.float64}


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(OptimWrapper):
    """An :class:`OptimWrapper` under ``torch.autocast``, on any device that has it; parameters stay as they are.

    ``dtype``: 'float16', 'bfloat16', 'float32' or 'float64' (no autocast), the torch dtype, or None for the device's
    default (float16 on CUDA, bfloat16 on CPU).

    ``loss_scale``: 'dynamic'; a number, which then stays; or a dict of arguments for ``torch.amp.GradScaler``.
    bfloat16 has the exponent range of float32 and needs no scaling, so 'dynamic' scales float16 only. With scaling,
    GradScaler reads once a step, on the host, whether a gradient overflowed, unless the optimizer is a fused one other
    than SGD.

    ``use_fsdp``: take the scaler that agrees on overflow between the ranks of ``FullyShardedDataParallel``.

    The other arguments, ``optimizer`` among them, are those of :class:`OptimWrapper`.
    """

    valid_dtypes = tuple(_DTYPES)

    def __init__(
        self,
        loss_scale: str | float | dict[str, Any] = "dynamic",
        dtype: str | torch.dtype | None = None,
        use_fsdp: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cast_dtype = _checked_dtype(dtype)
        device = self._device_type()
        effective = torch.get_autocast_dtype(device) if self.cast_dtype is None else self.cast_dtype
        self._scale_update_param: float | None = None
        options: dict[str, Any] = {"enabled": effective is torch.float16 or loss_scale != "dynamic"}
        if isinstance(loss_scale, dict):
            options.update(loss_scale)
        elif isinstance(loss_scale, (int, float)) and not isinstance(loss_scale, bool) and loss_scale > 0:
            self._scale_update_param = options["init_scale"] = float(loss_scale)
        elif loss_scale != "dynamic":
            raise ConfigTypeError(
                f"loss_scale must be of type float, dict (of GradScaler arguments) or 'dynamic', got {loss_scale!r}; a "
                "number is above 0"
            )
        self.loss_scaler = _make_scaler(device, use_fsdp, options)
        step_with_scaler_alone(self.optimizer, self.loss_scaler)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of the loss times the loss scale, and count it."""
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Clip the unscaled gradients, where asked for; step, unless one overflowed; adapt the scale."""
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._scale_update_param)

    def gradient_scale(self) -> float:
        """The loss scale. Reads the device."""
        return float(self.loss_scaler.get_scale())

    def loss_scale_tensor(self) -> Tensor | None:
        """The loss scale, unread; None before the first :meth:`backward`, and where nothing is scaled."""
        return getattr(self.loss_scaler, "_scale", None)  # get_scale() reads the device

    def state_dict(self) -> dict[str, Any]:
        """As :meth:`OptimWrapper.state_dict`, and ``loss_scaler``, which is empty where nothing is scaled."""
        state = super().state_dict()
        state["loss_scaler"] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load with or without a ``loss_scaler``: a run may change its precision between two parts."""
        state = dict(state_dict)
        scaler = state.pop("loss_scaler", None)
        super().load_state_dict(state)
        if scaler:
            self.loss_scaler.load_state_dict(scaler)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Autocast around the forward pass, inside the context of accumulation."""
        outer = super().optim_context(model)
        enabled = self.cast_dtype is None or self.cast_dtype in _LOW.values()
        cast = torch.autocast(self._device_type(), dtype=self.cast_dtype if enabled else None, enabled=enabled)
        return cast if outer is NOTHING else _both(outer, cast)

    def _device_type(self) -> str:
        # Asked each time: the model may have moved since.
        params = (p for group in self.optimizer.param_groups for p in group["params"] if isinstance(p, Tensor))
        first = next(params, None)
        return get_device() if first is None else first.device.type


@contextmanager
def _both(outer: AbstractContextManager[Any], inner: AbstractContextManager[Any]) -> Iterator[None]:
    with outer, inner:
        yield


def step_with_scaler_alone(optimizer: Optimizer, scaler: torch.amp.GradScaler) -> None:
    """Have ``scaler`` decide whether SGD steps. Its fused form skips a step by itself, but its momentum is then
    uninitialised memory if that is the first."""
    if scaler.is_enabled() and isinstance(optimizer, torch.optim.SGD):
        vars(optimizer).pop("_step_supports_amp_scaling", None)


def _checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    found = _DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if dtype is None or found in _DTYPES.values():
        return found
    if not isinstance(dtype, str):
        raise RuleError(f"dtype should be None or instance of torch.dtype, one of {', '.join(_DTYPES)}, got {dtype!r}")
    raise RuleError(
        f"dtype should be any of {', '.join(_DTYPES)}, or None for the device's default, got {dtype!r}."
        f"{did_you_mean(dtype, _DTYPES)}"
    )


def _make_scaler(device: str, use_fsdp: bool, options: dict[str, Any]) -> torch.amp.GradScaler:
    if not use_fsdp:
        return torch.amp.GradScaler(device, **options)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        raise ConfigError(
            "use_fsdp=True, but there is no process group to agree on overflow in: start the run with a launcher, or "
            "leave use_fsdp at False"
        )
    from torch.distributed.fsdp.sharded_grad_scaler import ShardedGradScaler

    return ShardedGradScaler(device, **options)
