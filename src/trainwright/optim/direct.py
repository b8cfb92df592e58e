"""``optimizer.step()`` and ``optimizer.zero_grad()`` without torch's profiler ranges, while nobody profiles.

Torch opens a profiler range around both, which costs some 15 us each on a CPU whether a profiler runs or not: more than
all else this package adds to an iteration. So where nothing listens (no profiler, no step hook, no replaced method) the
same work is done without them. Whenever torch does not look as expected here, its own methods are called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as torch_optimizer

_global_hooks: list[Any] = [
    getattr(torch_optimizer, name, None) for name in ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
]
_profiler_runs: Callable[[], bool] | None = getattr(torch.autograd, "_profiler_enabled", None)
_KNOWS_TORCH = None not in _global_hooks and _profiler_runs is not None
_inner_steps: dict[type, tuple[Any, Any]] = {}  # class -> (its step, the step without the range or None)


def step(optimizer: Optimizer) -> None:
    """``optimizer.step()``."""
    kind = type(optimizer)
    outer, inner = _inner_steps.get(kind) or _look_into(kind)
    own = vars(optimizer).get("step")
    notes = own is not None and _only_notes(own, outer)
    if inner is None or outer is not kind.step or (own is not None and not notes) or _is_watched(optimizer):
        optimizer.step()
        return
    if notes:
        optimizer._opt_called = True  # type: ignore[attr-defined]
    inner(optimizer)


def zero_grad(optimizer: Optimizer) -> None:
    """``optimizer.zero_grad()``: every gradient becomes None."""
    replaced = getattr(type(optimizer), "zero_grad", None) is not Optimizer.zero_grad or "zero_grad" in vars(optimizer)
    if replaced or _is_watched(optimizer):
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for param in group["params"]:
            param.grad = None


def _is_watched(optimizer: Optimizer) -> bool:
    """Whether somebody would miss torch's range or its hooks."""
    if not _KNOWS_TORCH:
        return True
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    return bool(hooks or _global_hooks[0] or _global_hooks[1] or _profiler_runs())  # type: ignore[misc]


def _only_notes(own: Any, outer: Any) -> bool:
    """Whether this is what torch's schedulers put in place of ``step``: it notes the call, and makes it."""
    return getattr(own, "_wrapped_by_lr_sched", False) is True and getattr(own, "__wrapped__", None) is outer


def _look_into(kind: type[Optimizer]) -> tuple[Any, Any]:
    """The class's ``step``, and what torch's wrapper calls, which ``functools.wraps`` left in ``__wrapped__``."""
    outer = getattr(kind, "step", None)
    if outer is None:  # a mock
        return None, None
    inner = getattr(outer, "__wrapped__", None) if getattr(outer, "hooked", False) else None
    _inner_steps[kind] = outer, inner
    return outer, inner
