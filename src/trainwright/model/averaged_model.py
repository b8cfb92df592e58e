"""Averages of a model's weights: a second copy of the model that follows the first one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError
from trainwright.base.logs import print_log
from trainwright.model.pairing import Pairing
from trainwright.model.twin import twin_of
from trainwright.registry import MODELS

_WARNING = 30


class BaseAveragedModel(nn.Module):
    """A copy of `model`, as ``module``, whose weights are an average over the updates (API of mmengine's class).

    A subclass writes ``avg_func``, which changes one averaged tensor in place. Where it also writes
    ``avg_func_foreach``, that is called instead, once for all tensors of a kind. Only weights of floating point are
    averaged, with `update_buffers` buffers too; all other tensors are copied from the source in every update.

    Of a sharded model (FSDP) every rank averages its own part. Such an average can be saved, loaded and exchanged with
    the model, but not be run itself.

    `interval`: average in every so many updates; the first update copies. `device`: where the average lies, by
    default beside the model. The buffer ``steps`` counts updates; nothing reads it from its device unless somebody else
    has written it.
    """

    steps: Tensor

    def __init__(
        self,
        model: nn.Module,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise ConfigTypeError(f"{type(self).__name__}: model must be an nn.Module, got {type(model).__name__}.")
        if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
            raise ConfigError(
                f"{type(self).__name__}: interval must be a whole number of updates from 1 on, got {interval!r}."
            )
        self.module = twin_of(model).requires_grad_(False)
        if device is not None:
            self.module = self.module.to(device)
        self.interval = interval
        self.register_buffer("steps", torch.tensor(0, dtype=torch.long, device=device))
        self.update_buffers = update_buffers
        self._count = _Count(self.steps)
        self._pairing = Pairing()

    @property
    def avg_parameters(self) -> dict[str, Tensor]:
        """What is averaged, by name: the parameters; with ``update_buffers`` all of the module's state."""
        return self.module.state_dict() if self.update_buffers else dict(self.module.named_parameters())

    @property
    def n_updates(self) -> int:
        """The value of ``steps``, known to the host."""
        return self._count.of(self._buffers["steps"])

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Change `averaged_param` in place, given the tensor of the model and the number of updates so far.

        `steps` is a tensor of no dimension on the host, so reading it waits for no device.
        """
        raise NotImplementedError(f"{type(self).__name__} must write avg_func(averaged_param, source_param, steps)")

    def avg_func_foreach(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """``avg_func`` for many tensors of one type and device. A class that has its own ``avg_func`` and not this is
        called tensor by tensor."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The forward of the averaged model."""
        return self.module(*args, **kwargs)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Take the weights of `model` into the average. No host read."""
        n_updates = self._count.of(self._buffers["steps"])
        averaged, copied = self._pairing.of(self.module, model, self.update_buffers)
        if n_updates == 0:
            copied = averaged + copied
        elif n_updates % self.interval == 0:
            for own, source in averaged:
                self._average(own, source, n_updates)
        for own, source in copied:
            torch._foreach_copy_(own, source)
        self._count.add_one(self._buffers["steps"])

    def _average(self, own: list[Tensor], source: list[Tensor], n_updates: int) -> None:
        if _has_list_form(type(self)) and "avg_func" not in vars(self):
            self.avg_func_foreach(own, source, n_updates)
            return
        steps: Any = torch.tensor(n_updates)
        for averaged_param, source_param in zip(own, source, strict=True):
            self.avg_func(averaged_param.data, source_param.data, steps)

    @torch.no_grad()
    def copy_from(self, model: nn.Module) -> None:
        """Put all weights and buffers of `model` in place of the average, without counting an update."""
        averaged, copied = self._pairing.of(self.module, model, self.update_buffers)
        for own, source in averaged + copied:
            torch._foreach_copy_(own, source)

    @torch.no_grad()
    def copy_buffers(self, model: nn.Module) -> None:
        """Take over what is copied and not averaged, which others may have changed since the last update."""
        _, copied = self._pairing.of(self.module, model, self.update_buffers)
        for own, source in copied:
            torch._foreach_copy_(own, source)

    @torch.no_grad()
    def swap_with(self, model: nn.Module) -> None:
        """Exchange the averaged weights with those of `model`: parameters, with ``update_buffers`` buffers too."""
        averaged, _ = self._pairing.of(self.module, model, self.update_buffers, as_they_lie=True)
        for own, source in averaged:
            exchange(own, source)


@MODELS.register_module()
class StochasticWeightAverage(BaseAveragedModel):
    """The mean of the weights over the updates (Izmailov et al. 2018)."""

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """Move the mean by its share of the difference."""
        averaged_param.add_(source_param - averaged_param, alpha=1 / float(steps // self.interval + 1))

    def avg_func_foreach(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """The same bits: below a share of one half lerp computes the same expression, and needs no memory for it."""
        share = 1 / float(steps // self.interval + 1)
        if share < 0.5:
            torch._foreach_lerp_(averaged, source, share)
            return
        for averaged_param, source_param in zip(averaged, source, strict=True):
            self.avg_func(averaged_param, source_param, steps)


@MODELS.register_module()
class ExponentialMovingAverage(BaseAveragedModel):
    """``average = (1 - momentum) * average + momentum * weight``; `momentum` is small, unlike an optimizer's."""

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, interval, device, update_buffers)
        if not 0.0 < momentum < 1.0:
            raise RuleError(
                f"{type(self).__name__}: momentum must be in range (0.0, 1.0), both left out, got {momentum!r}. It is "
                "the weight of the new value: what others call decay=0.999 is momentum=0.001."
            )
        if momentum > 0.5:
            print_log(
                f"{type(self).__name__} has momentum={momentum}: it is the weight of the new value, and usually small. "
                f"Is momentum={1 - momentum:g} what you mean?",
                "current",
                _WARNING,
            )
        self.momentum = momentum

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """One step towards the new value."""
        averaged_param.lerp_(source_param, self.momentum)

    def avg_func_foreach(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """One step towards the new values."""
        torch._foreach_lerp_(averaged, source, self.momentum)


@MODELS.register_module()
class MomentumAnnealingEMA(ExponentialMovingAverage):
    """An exponential average whose momentum is ``max(momentum, gamma / (gamma + steps))``: large at first."""

    def __init__(
        self,
        model: nn.Module,
        momentum: float = 0.0002,
        gamma: int = 100,
        interval: int = 1,
        device: torch.device | str | None = None,
        update_buffers: bool = False,
    ) -> None:
        super().__init__(model, momentum, interval, device, update_buffers)
        if gamma <= 0:
            raise RuleError(f"{type(self).__name__}: gamma must be greater than 0, got {gamma!r}.")
        self.gamma = gamma

    def avg_func(self, averaged_param: Tensor, source_param: Tensor, steps: int) -> None:
        """One step towards the new value."""
        averaged_param.lerp_(source_param, self._annealed(int(steps)))

    def avg_func_foreach(self, averaged: list[Tensor], source: list[Tensor], steps: int) -> None:
        """One step towards the new values."""
        torch._foreach_lerp_(averaged, source, self._annealed(steps))

    def _annealed(self, steps: int) -> float:
        return max(self.momentum, self.gamma / (self.gamma + steps))


@torch.no_grad()
def exchange(some: Iterable[Tensor], others: Iterable[Tensor]) -> None:
    """Let the values of tensors change places, pair by pair."""
    # Tensor by tensor: the third copy that an exchange needs is then one tensor, not a whole model.
    for one, other in zip(some, others, strict=True):
        kept = one.clone()
        one.copy_(other)
        other.copy_(kept)


class _Count:
    """The host's knowledge of a counter that lies on a device: the tensor it was read from, and its version then."""

    def __init__(self, zero: Tensor) -> None:
        self._tensor: Any = zero
        self._version = zero._version
        self._value = 0

    def of(self, tensor: Any) -> int:
        """The value of `tensor`, which is read only when others have written it, or put another one in its place."""
        if tensor is not self._tensor or tensor._version != self._version:
            self._tensor, self._version, self._value = tensor, tensor._version, int(tensor)
        return self._value

    def add_one(self, tensor: Any) -> None:
        """Count on, on both sides."""
        tensor.add_(1)
        self._tensor, self._version, self._value = tensor, tensor._version, self._value + 1


def _has_list_form(cls: type) -> bool:
    """Whether ``avg_func_foreach`` speaks for ``avg_func``: no class below its own has another ``avg_func``."""
    for base in cls.__mro__:
        if "avg_func_foreach" in vars(base):
            return base is not BaseAveragedModel
        if "avg_func" in vars(base):
            return False
    return False
