"""Which form of an optimizer's step runs: torch's fused kernels, its foreach form, or its loop over parameters.

The forms compute the same update, but round it differently in the last bit. So torch's own choice stands unless another
one is asked for.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils import _foreach_utils

from trainwright.base.errors import ConfigError

FORMS = (None, "auto", True, False)
_KEYS = ("fused", "foreach")


def choose_form(optimizer: Optimizer, fused: bool | str | None) -> None:
    """Set the form of all groups of an optimizer, which may have taken steps already.

    ``fused``: None leaves it as the optimizer was built; 'auto' takes the fused form where torch has one for these
    parameters, else the foreach form where the class has it, else nothing changes; True takes the fused form or raises
    ConfigError with the reason why there is none; False takes the loop over parameters.
    """
    if not any(fused is form for form in FORMS if form != "auto") and fused != "auto":
        raise ConfigError(
            f"fused must be 'auto', True, False, or None for torch's own choice, got {fused!r}; 'auto' takes the "
            "fused form where torch has one for these parameters"
        )
    if fused is None:
        return
    why_not = "" if fused is False else _why_not_fused(optimizer)
    if fused is True and why_not:
        raise ConfigError(
            f"fused=True, but there is no fused form here: {why_not}. fused='auto' takes it where there is one"
        )
    if fused and not why_not:
        # The constructor sets these with its argument: GradScaler hands such an optimizer its scale.
        vars(optimizer).update(_step_supports_amp_scaling=True, _need_device_dtype_check_for_fused=True)
        _set(optimizer, fused=True, foreach=False)
    elif fused is False:
        vars(optimizer).pop("_step_supports_amp_scaling", None)
        _set(optimizer, fused=False, foreach=False)
    elif _has(optimizer, "foreach") and not _differentiable(optimizer) and all(map(_is_plain, _parameters(optimizer))):
        _set(optimizer, foreach=True)


def in_own_form(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state dict, saved with any form, with this optimizer's own: the config decides, not the file."""
    groups = state.get("param_groups", ())
    if len(groups) != len(optimizer.param_groups):
        return state  # torch says what is wrong with it
    own = [{key: group[key] for key in _KEYS if key in group} for group in optimizer.param_groups]
    return {**state, "param_groups": [{**group, **form} for group, form in zip(groups, own, strict=True)]}


def _set(optimizer: Optimizer, **form: bool) -> None:
    form = {key: value for key, value in form.items() if _has(optimizer, key)}
    for settings in (optimizer.defaults, *optimizer.param_groups):
        settings.update(form)
    if optimizer.state:  # the fused form keeps the number of steps on the device: loading puts it there
        optimizer.load_state_dict(optimizer.state_dict())


def _why_not_fused(optimizer: Optimizer) -> str:
    """Why torch has no fused form for this optimizer and its parameters, or nothing."""
    name = type(optimizer).__name__
    if not _has(optimizer, "fused") or not _is_of_torch(optimizer):
        return f"{name} has no such form"
    if _differentiable(optimizer):
        return f"{name} with differentiable=True has no such form"
    devices = _foreach_utils._get_fused_kernels_supported_devices()
    for param in _parameters(optimizer):
        if not _is_plain(param):
            return f"it is not for parameters of type {type(param).__name__}"
        if not param.is_floating_point():
            return f"it is not for parameters of {param.dtype}"
        if param.device.type not in devices:
            return f"it is not for the device {param.device.type}"
    return ""


def _parameters(optimizer: Optimizer) -> list[Any]:
    return [param for group in optimizer.param_groups for param in group["params"]]


def _is_plain(param: Any) -> bool:
    return type(param) in (torch.Tensor, nn.Parameter)


def _differentiable(optimizer: Optimizer) -> bool:
    return any(group.get("differentiable", False) for group in optimizer.param_groups)


def _has(optimizer: Optimizer, key: str) -> bool:
    return key in optimizer.defaults


def _is_of_torch(optimizer: Optimizer) -> bool:
    """Whether the step is one of torch's classes': others may have settings of that name and mean something else."""
    module = inspect.getmodule(type(optimizer).step)
    return module is not None and module.__name__.partition(".")[0] == "torch"
