"""Where numbers stop being finite in a training step: batch, weights, the first module, gradients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TensorFacts:
    """What is in a tensor; ``low`` and ``high`` are of its finite numbers, None where it has none."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    n_nan: int
    n_inf: int
    low: float | None
    high: float | None

    @property
    def is_finite(self) -> bool:
        """Whether there is neither a NaN nor an infinite number in it."""
        return not (self.n_nan or self.n_inf)

    def __str__(self) -> str:
        size = 1
        for n in self.shape:
            size *= n
        kinds = [f"{n:,} {name}" for n, name in ((self.n_nan, "NaN"), (self.n_inf, "infinite")) if n]
        bad = f"{' and '.join(kinds)} of {size:,}" if kinds else "finite"
        span = "" if self.low is None else f", from {self.low:.6g} to {self.high:.6g}"
        return f"{self.name}: {self.dtype} {self.shape}, {bad}{span}"


@dataclass(frozen=True)
class BadModule:
    """A module whose output is not finite; ``inputs_finite`` is about what it was given."""

    name: str
    kind: str
    output: TensorFacts
    inputs_finite: bool


@dataclass
class Diagnosis:
    """What was seen during a step.

    Args:
        batch: Every tensor of it.
        bad_rows: Where along their first dimension tensors of the batch are not finite.
        weights: Parameters and buffers that were not finite before the step.
        modules: The first module whose output was not finite; behind it the first with a NaN, where the former had only
            infinite numbers, as masks have on purpose.
        modules_unknown: Why modules were not looked at.
        gradients: Those that were not finite before the update, still multiplied by the loss scale.
    """

    batch: list[TensorFacts] = field(default_factory=list)
    bad_rows: list[int] = field(default_factory=list)
    weights: list[TensorFacts] = field(default_factory=list)
    modules: list[BadModule] = field(default_factory=list)
    modules_unknown: str | None = None
    gradients: list[TensorFacts] = field(default_factory=list)


def facts(name: str, tensor: Tensor) -> TensorFacts:
    """Count and measure. Reads the device."""
    tensor = tensor.detach()
    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    if tensor.layout is not torch.strided:
        tensor = tensor.coalesce().values() if tensor.layout is torch.sparse_coo else tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    if not tensor.is_floating_point():
        wide = tensor.to(torch.int64)
        low, high = (float(wide.min()), float(wide.max())) if wide.numel() else (None, None)
        return TensorFacts(name, dtype, shape, 0, 0, low, high)
    wide = tensor.to("cpu", torch.float64)
    finite = wide[torch.isfinite(wide)]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (None, None)
    return TensorFacts(name, dtype, shape, int(wide.isnan().sum()), int(wide.isinf().sum()), low, high)


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors and arrays of numbers within containers, with their places."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        yield name, torch.from_numpy(np.ascontiguousarray(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{name}[{index}]")


def is_finite(value: Any) -> bool:
    """Whether all tensors within are. Reads the device."""
    return all(
        bool(torch.isfinite(tensor).all())
        for _, tensor in tensors_in(value)
        if tensor.is_floating_point() or tensor.is_complex()
    )


def bad_rows(tensor: Tensor) -> list[int]:
    """The indices of the first dimension at which ``tensor`` is not finite. Reads the device."""
    if not tensor.dim() or not tensor.numel() or tensor.layout is not torch.strided:
        return []
    is_bad = ~torch.isfinite(tensor.detach()).reshape(len(tensor), -1).all(1)
    rows: list[int] = is_bad.nonzero().flatten().tolist()
    return rows


def bad_weights(model: nn.Module) -> list[TensorFacts]:
    """The parameters and buffers that are not finite."""
    return [facts(name, tensor) for name, tensor in model.state_dict(keep_vars=True).items() if _is_bad(tensor)]


def add_bad_gradients(found: list[TensorFacts], model: nn.Module) -> None:
    """Add the gradients that are held and not finite, each parameter once."""
    known = {each.name for each in found}
    for name, parameter in model.named_parameters():
        if name not in known and parameter.grad is not None:
            each = facts(name, parameter.grad)
            if not each.is_finite:
                found.append(each)


def _is_bad(value: Any) -> bool:
    return isinstance(value, Tensor) and not is_finite(value)


@contextmanager
def looking_for_bad_modules(model: nn.Module, found: list[BadModule]) -> Iterator[None]:
    """Within the block ``found`` gets the modules of :class:`Diagnosis`. A module ends after those inside it, so the
    first one is the innermost."""

    def look(name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if found and found[-1].output.n_nan:
            return
        bad = [each for place, tensor in tensors_in(output, "output") if not (each := facts(place, tensor)).is_finite]
        worst = max(bad, key=lambda each: each.n_nan > 0, default=None)
        if worst is not None and (worst.n_nan or not found):
            found.append(BadModule(name, type(module).__name__, worst, is_finite(args) and is_finite(kwargs)))

    handles = []
    try:
        for name, module in model.named_modules():
            if not isinstance(module, torch.jit.ScriptModule):  # which takes no such hook; what is around it is seen
                handles.append(module.register_forward_hook(partial(look, name), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
