"""Momentum, or the first beta, by MMCV 1.x's policies."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.compat.mmcv1.errors import LackingError
from trainwright.compat.mmcv1.runner.hooks import updater
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.lr_updater import annealing_cos, annealing_linear, format_param
from trainwright.compat.mmcv1.runner.hooks.updater import (
    Cycles,
    UpdaterHook,
    Values,
    initial_values,
    map_values,
    per_optimizer,
    set_each,
)
from trainwright.optim import schedules


class MomentumUpdaterHook(UpdaterHook):
    """Sets ``momentum`` of each parameter group, or where it has none the first of its ``betas``.

    A policy writes ``get_momentum(runner, base_momentum)``. ``base_momentum`` is the group's ``initial_momentum``, and
    the optimizer's state carries that through a resume. In a warm-up of ``warmup_iters`` iterations the regular
    momentum is divided by a share, beginning at ``warmup_ratio``.
    """

    def __init__(
        self, by_epoch: bool = True, warmup: str | None = None, warmup_iters: int = 0, warmup_ratio: float = 0.9
    ) -> None:
        super().__init__(by_epoch, warmup, warmup_iters, warmup_ratio)
        self.base_momentum: Values = []
        self.regular_momentum: Values = []

    def get_momentum(self, runner: Any, base_momentum: Any) -> Any:
        """The regular momentum of now, of a group that began with `base_momentum`."""
        raise NotImplementedError(f"{type(self).__name__} must write get_momentum(runner, base_momentum)")

    def get_regular_momentum(self, runner: Any) -> Any:
        """The regular momentum of all groups, for a dict of optimizers by name."""
        return map_values(self.base_momentum, partial(self.get_momentum, runner))

    def get_warmup_momentum(self, cur_iters: int) -> Any:
        """The momentum of a warm-up in iteration `cur_iters`."""
        factor = self._warm_up_factor(cur_iters)
        return map_values(self.regular_momentum, lambda momentum: momentum / factor)

    def _set_momentum(self, runner: Any, momentum_groups: Any) -> None:
        set_each(runner.optimizer, momentum_groups, _put)

    def _regulate(self, runner: Any) -> None:
        self.regular_momentum = self.get_regular_momentum(runner)

    def _set(self, runner: Any, warm_up_step: int | None) -> None:
        momentum = self.regular_momentum if warm_up_step is None else self.get_warmup_momentum(warm_up_step)
        self._set_momentum(runner, momentum)

    def before_run(self, runner: Any) -> None:
        """Take down what the groups begin with."""
        self.base_momentum = initial_values(runner.optimizer, "initial_momentum", self._momentum_of)

    def _momentum_of(self, name: str, group: dict[str, Any]) -> Any:
        if "momentum" in group:
            return group["momentum"]
        if "betas" not in group:
            raise LackingError(
                f"{type(self).__name__}: the parameter groups of the optimizer {name} have neither momentum nor betas, "
                f"but {sorted(group)}"
            )
        return group["betas"][0]


def _put(groups: list[dict[str, Any]], momenta: Iterable[Any]) -> None:
    for group, momentum in zip(groups, momenta, strict=False):
        if "momentum" in group:
            group["momentum"] = momentum
        elif "betas" in group:
            group["betas"] = (momentum, group["betas"][1])


@HOOKS.register_module()
class StepMomentumUpdaterHook(MomentumUpdaterHook):
    """Times ``gamma`` every ``step``, or at each step of a list; never below ``min_momentum``."""

    def __init__(
        self, step: int | list[int], gamma: float = 0.5, min_momentum: float | None = None, **kwargs: Any
    ) -> None:
        self.step = updater.checked_step(type(self).__name__, step)
        self.gamma = gamma
        self.min_momentum = min_momentum
        super().__init__(**kwargs)

    def get_momentum(self, runner: Any, base_momentum: Any) -> Any:
        return updater.stepped(base_momentum, self._passed(runner), self.step, self.gamma, self.min_momentum)


class _Annealing(MomentumUpdaterHook):
    """Leads to ``min_momentum``, or to ``min_momentum_ratio`` times the initial one."""

    def __init__(
        self, min_momentum: float | None = None, min_momentum_ratio: float | None = None, **kwargs: Any
    ) -> None:
        updater.check_floor(type(self).__name__, "momentum", min_momentum, min_momentum_ratio)
        self.min_momentum = min_momentum
        self.min_momentum_ratio = min_momentum_ratio
        super().__init__(**kwargs)

    def _floor(self, base_momentum: Any) -> Any:
        return updater.floor_of(base_momentum, self.min_momentum, self.min_momentum_ratio)


@HOOKS.register_module()
class CosineAnnealingMomentumUpdaterHook(_Annealing):
    """Half a cosine down to ``min_momentum``, or to ``min_momentum_ratio`` times the initial one."""

    def get_momentum(self, runner: Any, base_momentum: Any) -> Any:
        progress, planned = self._progress(runner)
        return annealing_cos(base_momentum, self._floor(base_momentum), progress / planned)


@HOOKS.register_module()
class LinearAnnealingMomentumUpdaterHook(_Annealing):
    """A straight line down to ``min_momentum``, or to ``min_momentum_ratio`` times the initial one."""

    def get_momentum(self, runner: Any, base_momentum: Any) -> Any:
        progress, planned = self._progress(runner)
        return annealing_linear(base_momentum, self._floor(base_momentum), progress / planned)


@HOOKS.register_module()
class CyclicMomentumUpdaterHook(Cycles, MomentumUpdaterHook):
    """To ``target_ratio[0]`` times the initial momentum and on to ``target_ratio[1]`` times, ``cyclic_times`` over.

    ``step_ratio_up`` is the share of a cycle that goes to the first. Each cycle goes ``gamma`` times as far as the one
    before.
    """

    def __init__(
        self,
        by_epoch: bool = False,
        target_ratio: float | tuple[float, ...] = (0.85 / 0.95, 1.0),
        cyclic_times: int = 1,
        step_ratio_up: float = 0.4,
        anneal_strategy: str = "cos",
        gamma: float = 1.0,
        **kwargs: Any,
    ) -> None:
        self.momentum_phases: list[Any] = []
        super().__init__(by_epoch, target_ratio, cyclic_times, step_ratio_up, anneal_strategy, gamma, **kwargs)

    def before_run(self, runner: Any) -> None:
        """Lay the cycles over the training."""
        super().before_run(runner)
        self.momentum_phases = self._phases(self._progress(runner)[1])

    def get_momentum(self, runner: Any, base_momentum: Any) -> Any:
        return self._in_cycle(base_momentum, runner.iter, self.momentum_phases)


@HOOKS.register_module()
class OneCycleMomentumUpdaterHook(MomentumUpdaterHook):
    """From ``max_momentum`` down to ``base_momentum`` while OneCycleLrUpdaterHook's rate rises, and up again.

    Both are a number, a list with one for each parameter group, or a dict of these by optimizer. Of Adam and its like
    it is the first beta.
    """

    def __init__(
        self,
        base_momentum: float | list[float] | dict[str, Any] = 0.85,
        max_momentum: float | list[float] | dict[str, Any] = 0.95,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        three_phase: bool = False,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        updater.check_by_iteration(name, kwargs.setdefault("by_epoch", False))
        for argument, value in (("base_momentum", base_momentum), ("max_momentum", max_momentum)):
            if not isinstance(value, (float, list, dict)):
                raise ConfigError(f"{name} {argument} must be a float, list or dict, got {value!r}")
        self._base_momentum = base_momentum
        self._max_momentum = max_momentum
        self.pct_start = updater.check_share(name, "pct_start", pct_start)
        self.anneal_func = updater.anneal_function(name, anneal_strategy)
        self.three_phase = three_phase
        self.momentum_phases: list[Any] = []
        super().__init__(**kwargs)

    def before_run(self, runner: Any) -> None:
        """Begin with the upper momentum, and lay the cycle over the training."""
        per_optimizer(runner.optimizer, self._begin)
        names = ["max_momentum", "base_momentum", "max_momentum"]
        ways = [*names, "max_momentum"] if self.three_phase else names
        self.momentum_phases = schedules.cycle_phases(ways, self._progress(runner)[1], self.pct_start)

    def _begin(self, name: str, optimizer: Any) -> None:
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ConfigError(
                f"{type(self).__name__}: optimizer must support momentum, and {type(optimizer).__name__} has neither "
                "momentum nor betas"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        lowest = format_param(name, optimizer, self._base_momentum)
        highest = format_param(name, optimizer, self._max_momentum)
        _put(optimizer.param_groups, highest)
        for group, base, top in zip(optimizer.param_groups, lowest, highest, strict=True):
            group["base_momentum"], group["max_momentum"] = base, top

    def get_momentum(self, runner: Any, param_group: Any) -> Any:
        """The momentum of now, between the bounds that `param_group` has."""
        share, first, last = schedules.phase_at(runner.iter, self.momentum_phases)
        return self.anneal_func(param_group[first], param_group[last], share)

    def get_regular_momentum(self, runner: Any) -> Any:
        """The momentum of all groups, for a dict of optimizers by name."""
        return per_optimizer(
            runner.optimizer,
            lambda _, optimizer: [self.get_momentum(runner, group) for group in optimizer.param_groups],
        )
