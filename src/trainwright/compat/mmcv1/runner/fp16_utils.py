"""Half precision of MMCV 1.x: which arguments of a method are cast, and the loss scale."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping
from inspect import getfullargspec
from typing import Any

import numpy as np
import torch
from torch import nn

from trainwright.compat.mmcv1.errors import demand

_HALF = (torch.half, torch.bfloat16)  # autocast gives the second on a CPU


def cast_tensor_type(inputs: Any, src_type: torch.dtype, dst_type: torch.dtype) -> Any:
    """``inputs`` with every tensor of ``src_type`` as ``dst_type``, inside mappings and iterables too."""
    if isinstance(inputs, torch.Tensor):
        return inputs.to(dst_type) if inputs.dtype == src_type else inputs
    if isinstance(inputs, (nn.Module, str, np.ndarray)):
        return inputs
    if isinstance(inputs, Mapping):
        make: Any = type(inputs)
        return make({k: cast_tensor_type(v, src_type, dst_type) for k, v in inputs.items()})
    if isinstance(inputs, Iterable):
        make = type(inputs)
        items = (cast_tensor_type(item, src_type, dst_type) for item in inputs)
        return make(*items) if hasattr(inputs, "_fields") else make(items)
    return inputs


def auto_fp16(
    apply_to: Iterable[str] | None = None, out_fp32: bool = False, supported_types: tuple[type, ...] = (nn.Module,)
) -> Callable[..., Any]:
    """Decorate a method to run in half precision where its object has ``fp16_enabled``.

    Arguments of single precision that ``apply_to`` names (None: all) are cast to half, and the method runs under
    autocast of the device that the object is on: float16 on a GPU, bfloat16 on a CPU. ``out_fp32`` casts results back.
    A method of another object than one of ``supported_types`` is a TypeError.
    """
    return functools.partial(
        _casting, "auto_fp16", apply_to, supported_types, ((torch.float,), torch.half), _HALF if out_fp32 else ()
    )


def force_fp32(apply_to: Iterable[str] | None = None, out_fp16: bool = False) -> Callable[..., Any]:
    """Decorate a method of a module to run in single precision although the module has ``fp16_enabled``.

    Arguments in half precision that ``apply_to`` names (None: all) are cast, and autocast is off inside; ``out_fp16``
    casts results to half.
    """
    return functools.partial(
        _casting, "force_fp32", apply_to, (nn.Module,), (_HALF, torch.float), (torch.float,) if out_fp16 else ()
    )


def _casting(
    name: str,
    apply_to: Iterable[str] | None,
    supported: tuple[type, ...],
    cast: tuple[tuple[torch.dtype, ...], torch.dtype],
    out_types: tuple[torch.dtype, ...],
    method: Callable[..., Any],
) -> Callable[..., Any]:
    """``method`` with arguments cast, and with results of ``out_types`` cast to what the arguments were."""
    sources, target = cast
    in_half = target is torch.half
    wished = None if apply_to is None else tuple(apply_to)

    @functools.cache  # asked at the first call: of what is decorated here only a call needs a signature
    def argument_names() -> tuple[list[str], frozenset[str]]:
        own = getfullargspec(method).args
        return own, frozenset(own if wished is None else wished)

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not isinstance(args[0], supported):
            known = ", ".join(kind.__name__ for kind in supported)
            raise TypeError(f"@{name} is for methods of {known}, and {type(args[0]).__name__} is none")
        if not getattr(args[0], "fp16_enabled", False):
            return method(*args, **kwargs)
        order, named = argument_names()
        new_args = list(args)
        for i, argument in enumerate(order[1 : len(args)], 1):
            if argument in named:
                new_args[i] = _cast_each(args[i], sources, target)
        new_kwargs = {k: _cast_each(v, sources, target) if k in named else v for k, v in kwargs.items()}
        with torch.autocast(_device_type(args, kwargs), enabled=in_half):
            output = method(*new_args, **new_kwargs)
        return _cast_each(output, out_types, torch.float if in_half else torch.half)

    return wrapper


def _cast_each(value: Any, sources: tuple[torch.dtype, ...], target: torch.dtype) -> Any:
    for source in sources:
        value = cast_tensor_type(value, source, target)
    return value


def _device_type(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Of the object's first parameter, else of the first tensor among the arguments."""
    if isinstance(args[0], nn.Module):
        for param in args[0].parameters():
            return param.device.type
    tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
    first = next(tensors, None)
    if first is not None:
        return first.device.type
    return "cuda" if torch.cuda.is_available() else "cpu"


def allreduce_grads(params: list[nn.Parameter], coalesce: bool = True, bucket_size_mb: int = -1) -> None:
    """The old place of :func:`mmcv.runner.allreduce_grads`."""
    from trainwright.compat.mmcv1.runner.dist_utils import allreduce_grads as from_its_place

    warnings.warn(
        "mmcv.runner.fp16_utils.allreduce_grads goes away: take it from mmcv.runner", DeprecationWarning, stacklevel=2
    )
    from_its_place(params, coalesce=coalesce, bucket_size_mb=bucket_size_mb)


def wrap_fp16_model(model: nn.Module) -> None:
    """Set ``fp16_enabled`` on every module of ``model`` that has it; weights stay in single precision."""
    for module in model.modules():
        if hasattr(module, "fp16_enabled"):
            module.fp16_enabled = True  # type: ignore[assignment]


def patch_norm_fp32(module: nn.Module) -> nn.Module:
    """Make normalization layers of a half precision model compute in single precision; returns ``module``."""
    for part in module.modules():
        if isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)):
            part.float()
        if isinstance(part, nn.GroupNorm):  # batch norm takes half precision input with single precision weights
            part.forward = patch_forward_method(part.forward, torch.half, torch.float)  # type: ignore[method-assign]
    return module


def patch_forward_method(
    func: Callable[..., Any], src_type: torch.dtype, dst_type: torch.dtype, convert_output: bool = True
) -> Callable[..., Any]:
    """``func`` with its arguments cast from ``src_type`` to ``dst_type``, and its output back."""

    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        output = func(*cast_tensor_type(args, src_type, dst_type), **cast_tensor_type(kwargs, src_type, dst_type))
        return cast_tensor_type(output, dst_type, src_type) if convert_output else output

    return wrapper


class LossScaler:
    """The loss scale of MMCV's own mixed precision, for code that uses it; the hooks take torch's GradScaler.

    ``mode`` 'dynamic' divides it by ``scale_factor`` at an overflow (it stays at least 1), and multiplies it after
    every ``scale_window`` iterations since the last one; 'static' leaves it at ``init_scale``.
    """

    def __init__(
        self, init_scale: float = 2**32, mode: str = "dynamic", scale_factor: float = 2.0, scale_window: int = 1000
    ) -> None:
        demand(mode in ("dynamic", "static"), f"LossScaler mode must be 'dynamic' or 'static', got {mode!r}")
        self.cur_scale = init_scale
        self.cur_iter = 0
        self.mode = mode
        self.last_overflow_iter = -1
        self.scale_factor = scale_factor
        self.scale_window = scale_window

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by."""
        return self.cur_scale

    def has_overflow(self, params: Iterable[nn.Parameter]) -> bool:
        """Whether a gradient is infinite or NaN; reads the device once. Never when the scale is static."""
        if self.mode != "dynamic":
            return False
        sums = [p.grad.float().sum() for p in params if p.grad is not None]
        return bool(sums) and not all(torch.stack([s.to(sums[0].device) for s in sums]).isfinite().tolist())

    @staticmethod
    def _has_inf_or_nan(x: torch.Tensor) -> bool:
        return not bool(x.float().sum().isfinite())

    def update_scale(self, overflow: bool) -> None:
        """Count an iteration, and adapt the scale."""
        if self.mode != "dynamic":
            return
        if overflow:
            self.cur_scale = max(self.cur_scale / self.scale_factor, 1)
            self.last_overflow_iter = self.cur_iter
        elif (self.cur_iter - self.last_overflow_iter) % self.scale_window == 0:
            self.cur_scale *= self.scale_factor
        self.cur_iter += 1

    def state_dict(self) -> dict[str, Any]:
        """Scale, counters and settings."""
        return {name: getattr(self, name) for name in _SCALER_STATE}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        for name in _SCALER_STATE:
            setattr(self, name, state_dict[name])


_SCALER_STATE = ("cur_scale", "cur_iter", "mode", "last_overflow_iter", "scale_factor", "scale_window")
