"""The base of schedulers: counts steps, asks for values, writes them into the parameter groups."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError, ConfigKeyError, ConfigTypeError, demand
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.optim.schedule_settings import INF, check_span
from trainwright.optim.step_order import note_steps, warn_unless_stepped
from trainwright.optim.wrapper import BaseOptimWrapper
from trainwright.optim.wrapper_dict import OptimWrapperDict


class _ParamScheduler:
    """Schedules one entry of every parameter group over ``[begin, end)``. A subclass says the values in ``_get_value``.

    ``step()`` is called once an epoch (``by_epoch``) or once an iteration; the constructor makes the first call, so
    that the first epoch or iteration already has its value. ``last_step`` counts from ``begin``; -1 before the span.
    A value that is a tensor is filled in place; keep such tensors on the CPU, as reading one waits for its device.
    """

    _not_saved: ClassVar[tuple[str, ...]] = ("optimizer",)

    def __init__(
        self,
        optimizer: BaseOptimWrapper | Optimizer,
        param_name: str,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        check_optimizer(optimizer, param_name)
        check_span(begin, end, by_epoch)
        demand(
            isinstance(last_step, int) and not isinstance(last_step, bool) and last_step >= -1,
            f"last_step must be a whole number of at least -1 (a fresh start), got {last_step!r}",
        )
        self.optimizer = optimizer
        self.param_name = param_name
        self.begin = begin
        self.end = end
        self.by_epoch = by_epoch
        self.base_values = _initial_values(optimizer, param_name, fresh=last_step == -1)
        self.last_step = last_step
        self.verbose = verbose
        self._global_step = -1
        self._last_value: list[float] = []
        if defaults.checks_step_order:
            note_steps(optimizer)
        self.step()

    def _get_value(self) -> list[float]:
        """The values of all groups at ``last_step``, from the present ones."""
        raise NotImplementedError(f"{type(self).__name__} must define _get_value(), which returns one value a group")

    def step(self) -> None:
        """Count one epoch or iteration; within the span, set the values."""
        if self._global_step == 0 and defaults.checks_step_order:
            warn_unless_stepped(self.optimizer)
        self._global_step += 1
        name, groups = self.param_name, self.optimizer.param_groups
        if len(groups) > len(self.base_values):
            self._meet_new_groups()
        if self.begin <= self._global_step < self.end:
            self.last_step += 1
            self._put(self._get_value())
            if self.verbose:
                for index, group in enumerate(groups):
                    self.print_value(True, index, group[name])
        else:
            self._last_value = [float(group[name]) for group in groups]

    def _put(self, values: list[float]) -> None:
        """Set the values of the groups, and remember them."""
        name, groups = self.param_name, self.optimizer.param_groups
        for group, value in zip(groups, values, strict=False):
            if isinstance(group[name], Tensor):
                group[name].fill_(value)
            else:
                group[name] = value
        self._last_value = [float(group[name]) for group in groups]

    def _meet_new_groups(self) -> None:
        """Schedule groups that were added to the optimizer since the last step: from now on they change by the same
        factors as the others, as if this schedule had led to the values they came with. Those are their initial ones.
        """
        groups = self.optimizer.param_groups
        n_known = len(self.base_values)
        if len(groups) <= n_known:
            return
        check_optimizer(self.optimizer, self.param_name)
        first = n_known - has_base_group(self.optimizer)  # the base settings stay last
        for index in range(first, first + len(groups) - n_known):
            self._insert_group(index, groups[index])

    def _insert_group(self, index: int, group: dict[str, Any]) -> None:
        value = group[self.param_name]
        initial = group.setdefault(f"initial_{self.param_name}", value.clone() if isinstance(value, Tensor) else value)
        self.base_values.insert(index, float(initial))
        if self._last_value:
            self._last_value.insert(index, math.nan)  # equals nothing: the group's start comes from its present value

    def get_last_value(self) -> list[float]:
        """The values of all groups after the last step."""
        return self._last_value

    def put_last_value(self) -> None:
        """Set the groups to the values after the last step, whatever has changed them since."""
        if not any(map(math.isnan, self._last_value)) and self._last_value:
            self._put(self._last_value)

    def print_value(self, is_verbose: bool, group: int, value: float) -> None:
        """Log one group's value, if asked to."""
        if is_verbose:
            print_log(f"{self.param_name} of parameter group {group} is now {float(value):.4e}", logger="current")

    def state_dict(self) -> dict[str, Any]:
        """A copy of every attribute but the optimizer: plain data, as long as a subclass adds nothing else."""
        return {name: copy.deepcopy(value) for name, value in self.__dict__.items() if name not in self._not_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a state, settings included. The optimizer's own state, with the present values, is loaded apart."""
        self.__dict__.update(copy.deepcopy(state_dict))


class LRSchedulerMixin:
    """Put before a ``...ParamScheduler`` to make it one of the learning rate."""

    def __init__(self, optimizer: BaseOptimWrapper | Optimizer, *args: Any, **kwargs: Any) -> None:
        super().__init__(optimizer, "lr", *args, **kwargs)  # type: ignore[call-arg]


class MomentumSchedulerMixin:
    """Put before a ``...ParamScheduler`` to make it one of the momentum, or of the first beta of the Adam family."""

    optimizer: BaseOptimWrapper | Optimizer

    def __init__(self, optimizer: BaseOptimWrapper | Optimizer, *args: Any, **kwargs: Any) -> None:
        defaults = getattr(optimizer, "defaults", {})
        self.use_betas = "momentum" not in defaults and "betas" in defaults
        if not self.use_betas and "momentum" not in defaults:
            raise ConfigError(
                "the optimizer must support momentum when using momentum schedulers, or have betas, and "
                f"{type(getattr(optimizer, 'optimizer', optimizer)).__name__} has neither: take the scheduler out, or "
                "use for instance SGD or AdamW"
            )
        if self.use_betas:
            for group in optimizer.param_groups:
                group["momentum"] = group["betas"][0]
        super().__init__(optimizer, "momentum", *args, **kwargs)  # type: ignore[call-arg]

    def step(self, *args: Any, **kwargs: Any) -> None:
        """As the scheduler behind this; with betas, the first of them follows."""
        if self.use_betas:
            for group in self.optimizer.param_groups:
                group.setdefault("momentum", group["betas"][0])  # of a group that was added later
        super().step(*args, **kwargs)  # type: ignore[misc]
        if self.use_betas:
            for group in self.optimizer.param_groups:
                group["betas"] = (group["momentum"], *group["betas"][1:])


def has_base_group(optimizer: Any) -> bool:
    """Whether the last group only shows the base settings of a wrapper."""
    return getattr(optimizer, "base_param_settings", None) is not None


def check_optimizer(optimizer: Any, param_name: Any) -> None:
    """Refuse what a scheduler of ``param_name`` cannot work on."""
    if isinstance(optimizer, OptimWrapperDict):
        raise ConfigTypeError(
            f"a scheduler steps one optimizer, and this OptimWrapperDict holds several ({', '.join(optimizer)}): build "
            "one for each, or in a config param_scheduler=dict(name=[...], ...) under the same names"
        )
    if not isinstance(optimizer, (Optimizer, BaseOptimWrapper)):
        raise ConfigTypeError(
            f"optimizer should be an Optimizer of torch or an OptimWrapper, got {optimizer!r} of type "
            f"{type(optimizer).__name__}"
        )
    names = [name for name in optimizer.param_groups[0] if name != "params"]
    for index, group in enumerate(optimizer.param_groups):
        if param_name not in group:
            raise ConfigKeyError(
                f"param_name is {param_name!r}, which parameter group {index} does not have: it has {', '.join(names)}."
                f"{did_you_mean(str(param_name), names)}"
            )


def _initial_values(optimizer: BaseOptimWrapper | Optimizer, param_name: str, fresh: bool) -> list[float]:
    """The values before any scheduler, which each group keeps as ``initial_<name>``."""
    key = f"initial_{param_name}"
    for index, group in enumerate(optimizer.param_groups):
        if fresh:
            value = group[param_name]
            group.setdefault(key, value.clone() if isinstance(value, Tensor) else value)
        elif key not in group:
            raise ConfigKeyError(
                f"param {key!r} is not specified in parameter group {index}, and last_step says that schedulers ran "
                "before: load the optimizer's state first, or leave last_step at -1"
            )
    return [float(group[key]) for group in optimizer.param_groups]
