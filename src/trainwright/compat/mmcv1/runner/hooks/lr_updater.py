"""Learning rates by MMCV 1.x's policies."""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from itertools import accumulate
from numbers import Number
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.compat.mmcv1.errors import demand
from trainwright.compat.mmcv1.runner.hooks import updater
from trainwright.compat.mmcv1.runner.hooks.hook import HOOKS
from trainwright.compat.mmcv1.runner.hooks.updater import (
    Cycles,
    UpdaterHook,
    Values,
    format_param,
    initial_values,
    map_values,
    per_optimizer,
    set_each,
)
from trainwright.optim import schedules
from trainwright.optim.schedules import anneal_cosine as annealing_cos
from trainwright.optim.schedules import anneal_linear as annealing_linear

__all__ = ["annealing_cos", "annealing_linear", "format_param", "get_position_from_periods"]


class LrUpdaterHook(UpdaterHook):
    """Sets the learning rate of each parameter group; a policy writes ``get_lr(runner, base_lr)``.

    ``base_lr`` is the group's ``initial_lr``, which the optimizer's state carries through a resume. ``warmup`` is None,
    'constant', 'linear' or 'exp': in the first ``warmup_iters`` iterations, or with ``warmup_by_epoch`` epochs, the
    rate is a share of the regular one, beginning at ``warmup_ratio``.
    """

    def __init__(
        self,
        by_epoch: bool = True,
        warmup: str | None = None,
        warmup_iters: int = 0,
        warmup_ratio: float = 0.1,
        warmup_by_epoch: bool = False,
    ) -> None:
        super().__init__(by_epoch, warmup, warmup_iters, warmup_ratio)
        if warmup is not None:
            whole = isinstance(warmup_iters, int)
            demand(whole, f"{type(self).__name__} warmup_iters must be a positive integer, got {warmup_iters!r}")
        self.warmup_by_epoch = warmup_by_epoch
        self.warmup_epochs: int | None = None
        if warmup_by_epoch:
            self.warmup_epochs, self.warmup_iters = warmup_iters, None
        self.base_lr: Values = []
        self.regular_lr: Values = []

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        """The regular learning rate of now, of a group that began with `base_lr`."""
        raise NotImplementedError(f"{type(self).__name__} must write get_lr(runner, base_lr)")

    def get_regular_lr(self, runner: Any) -> Any:
        """The regular learning rates of all groups, for a dict of optimizers by name."""
        return map_values(self.base_lr, partial(self.get_lr, runner))

    def get_warmup_lr(self, cur_iters: int) -> Any:
        """The learning rates of a warm-up in iteration `cur_iters`."""
        factor = self._warm_up_factor(cur_iters)
        return map_values(self.regular_lr, lambda lr: lr * factor)

    def _set_lr(self, runner: Any, lr_groups: Any) -> None:
        set_each(runner.optimizer, lr_groups, _put)

    def _regulate(self, runner: Any) -> None:
        self.regular_lr = self.get_regular_lr(runner)

    def _set(self, runner: Any, warm_up_step: int | None) -> None:
        self._set_lr(runner, self.regular_lr if warm_up_step is None else self.get_warmup_lr(warm_up_step))

    def before_run(self, runner: Any) -> None:
        """Take down what the groups begin with."""
        self.base_lr = initial_values(runner.optimizer, "initial_lr", lambda _, group: group["lr"])

    def before_train_epoch(self, runner: Any) -> None:
        """Set the learning rate of the epoch."""
        if self.warmup_iters is None and self.warmup_epochs is not None:
            self.warmup_iters = self.warmup_epochs * len(runner.data_loader)
        super().before_train_epoch(runner)


def _put(groups: list[dict[str, Any]], rates: list[Any]) -> None:
    for group, lr in zip(groups, rates, strict=False):
        group["lr"] = lr


@HOOKS.register_module()
class FixedLrUpdaterHook(LrUpdaterHook):
    """The initial rate; for a warm-up."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        return base_lr


@HOOKS.register_module()
class StepLrUpdaterHook(LrUpdaterHook):
    """Times ``gamma`` every ``step``, or at each step of a list; never below ``min_lr``."""

    def __init__(self, step: int | list[int], gamma: float = 0.1, min_lr: float | None = None, **kwargs: Any) -> None:
        self.step = updater.checked_step(type(self).__name__, step)
        self.gamma = gamma
        self.min_lr = min_lr
        super().__init__(**kwargs)

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        return updater.stepped(base_lr, self._passed(runner), self.step, self.gamma, self.min_lr)


@HOOKS.register_module()
class ExpLrUpdaterHook(LrUpdaterHook):
    """Times ``gamma`` each epoch or iteration."""

    def __init__(self, gamma: float, **kwargs: Any) -> None:
        self.gamma = gamma
        super().__init__(**kwargs)

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        return base_lr * schedules.exponential(self._passed(runner), self.gamma)


@HOOKS.register_module()
class PolyLrUpdaterHook(LrUpdaterHook):
    """Down to ``min_lr`` by the part of the training that is left, to the ``power``."""

    def __init__(self, power: float = 1.0, min_lr: float = 0.0, **kwargs: Any) -> None:
        self.power = power
        self.min_lr = min_lr
        super().__init__(**kwargs)

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        return (base_lr - self.min_lr) * schedules.poly(*self._progress(runner), self.power) + self.min_lr


@HOOKS.register_module()
class InvLrUpdaterHook(LrUpdaterHook):
    """Over ``(1 + gamma * progress) ** power``."""

    def __init__(self, gamma: float, power: float = 1.0, **kwargs: Any) -> None:
        self.gamma = gamma
        self.power = power
        super().__init__(**kwargs)

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        return base_lr * schedules.inverse(self._passed(runner), self.gamma, self.power)


class _Annealing(LrUpdaterHook):
    """Leads to ``min_lr``, or to ``min_lr_ratio`` times the initial rate."""

    def __init__(self, min_lr: float | None = None, min_lr_ratio: float | None = None, **kwargs: Any) -> None:
        updater.check_floor(type(self).__name__, "lr", min_lr, min_lr_ratio)
        self.min_lr = min_lr
        self.min_lr_ratio = min_lr_ratio
        super().__init__(**kwargs)

    def _floor(self, base_lr: Any) -> Any:
        return updater.floor_of(base_lr, self.min_lr, self.min_lr_ratio)


@HOOKS.register_module()
class CosineAnnealingLrUpdaterHook(_Annealing):
    """Half a cosine down to ``min_lr``, or to ``min_lr_ratio`` times the initial rate."""

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        progress, planned = self._progress(runner)
        return annealing_cos(base_lr, self._floor(base_lr), progress / planned)


@HOOKS.register_module()
class FlatCosineAnnealingLrUpdaterHook(_Annealing):
    """The initial rate up to the share ``start_percent`` of the training, then half a cosine down."""

    def __init__(
        self,
        start_percent: float = 0.75,
        min_lr: float | None = None,
        min_lr_ratio: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_lr, min_lr_ratio, **kwargs)
        self.start_percent = updater.check_share(type(self).__name__, "start_percent", start_percent)

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        progress, planned = self._progress(runner)
        start = round(planned * self.start_percent)
        if progress < start:
            return base_lr
        return annealing_cos(base_lr, self._floor(base_lr), (progress - start) / (planned - start))


@HOOKS.register_module()
class CosineRestartLrUpdaterHook(_Annealing):
    """Half a cosine down in each of ``periods``, which begins with its weight of ``restart_weights``."""

    def __init__(
        self,
        periods: list[int],
        restart_weights: list[float] = [1],  # noqa: B006 - never changed
        min_lr: float | None = None,
        min_lr_ratio: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_lr, min_lr_ratio, **kwargs)
        demand(
            len(periods) == len(restart_weights),
            f"{type(self).__name__} periods and restart_weights should have the same length, got {periods!r} and "
            f"{restart_weights!r}",
        )
        self.periods = periods
        self.restart_weights = restart_weights
        self.cumulative_periods = list(accumulate(periods))

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        progress = self._passed(runner)
        index = get_position_from_periods(progress, self.cumulative_periods)
        begin = self.cumulative_periods[index - 1] if index else 0
        share = min((progress - begin) / self.periods[index], 1)
        return annealing_cos(base_lr, self._floor(base_lr), share, self.restart_weights[index])


def get_position_from_periods(iteration: int, cumulative_periods: list[int]) -> int:
    """The index of the period that `iteration` is in, given where they end; ValueError behind the last one."""
    index = bisect_right(cumulative_periods, iteration)
    if index == len(cumulative_periods):
        raise ConfigError(
            f"Current iteration {iteration} exceeds cumulative_periods {cumulative_periods}: the periods must reach to "
            "the end of the training"
        )
    return index


@HOOKS.register_module()
class CyclicLrUpdaterHook(Cycles, LrUpdaterHook):
    """Up to ``target_ratio[0]`` times the initial rate and down to ``target_ratio[1]`` times, ``cyclic_times`` over.

    ``step_ratio_up`` is the share of a cycle that goes up. Each cycle rises ``gamma`` times as far as the one before.
    """

    def __init__(
        self,
        by_epoch: bool = False,
        target_ratio: float | tuple[float, ...] = (10, 1e-4),
        cyclic_times: int = 1,
        step_ratio_up: float = 0.4,
        anneal_strategy: str = "cos",
        gamma: float = 1,
        **kwargs: Any,
    ) -> None:
        demand(0 < gamma <= 1, f"{type(self).__name__} gamma must be in range (0, 1], got {gamma!r}")
        self.lr_phases: list[Any] = []
        super().__init__(by_epoch, target_ratio, cyclic_times, step_ratio_up, anneal_strategy, gamma, **kwargs)

    def before_run(self, runner: Any) -> None:
        """Lay the cycles over the training."""
        super().before_run(runner)
        self.lr_phases = self._phases(self._progress(runner)[1])

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        return self._in_cycle(base_lr, runner.iter, self.lr_phases)


@HOOKS.register_module()
class OneCycleLrUpdaterHook(LrUpdaterHook):
    """Up to ``max_lr`` and far down again in one cycle of ``total_steps``, by default the whole training.

    It begins at ``max_lr / div_factor`` and ends at a ``final_div_factor``-th of that. ``max_lr`` is a number, a list
    with one for each parameter group, or a dict of these by optimizer. ``pct_start`` is the share that goes up; with
    ``three_phase`` it comes down to the begin in as many steps, and further down in those that are left.
    """

    def __init__(
        self,
        max_lr: float | list[float] | dict[str, Any],
        total_steps: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        updater.check_by_iteration(name, kwargs.setdefault("by_epoch", False))
        if not isinstance(max_lr, (Number, list, dict)):
            raise ConfigError(f"{name} max_lr must be a number, list or dict, got {max_lr!r}")
        if total_steps is not None:
            if not isinstance(total_steps, int):
                raise ConfigError(f"{name} total_steps must be an int, got {total_steps!r}")
            self.total_steps = total_steps
        self._max_lr = max_lr
        self.pct_start = updater.check_share(name, "pct_start", pct_start)
        self.anneal_func = updater.anneal_function(name, anneal_strategy)
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.three_phase = three_phase
        self.lr_phases: list[Any] = []
        super().__init__(**kwargs)

    def before_run(self, runner: Any) -> None:
        """Lay the cycle over the training."""
        planned = self._progress(runner)[1]
        total_steps = getattr(self, "total_steps", planned)
        if total_steps < planned:
            raise ConfigError(
                f"{type(self).__name__} total_steps must be greater than or equal to the runner's max_iters {planned}, "
                f"got {total_steps}"
            )
        self.base_lr = per_optimizer(runner.optimizer, self._begin)
        ways = [1, self.div_factor, 1, 1 / self.final_div_factor]
        if not self.three_phase:
            del ways[2]
        self.lr_phases = schedules.cycle_phases(ways, total_steps, self.pct_start)

    def _begin(self, name: str, optimizer: Any) -> list[Any]:
        rates = [lr / self.div_factor for lr in format_param(name, optimizer, self._max_lr)]
        for group, lr in zip(optimizer.param_groups, rates, strict=True):
            group.setdefault("initial_lr", lr)
        return rates

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        share, first, last = schedules.phase_at(runner.iter, self.lr_phases)
        return self.anneal_func(base_lr * first, base_lr * last, share)


@HOOKS.register_module()
class LinearAnnealingLrUpdaterHook(_Annealing):
    """A straight line down to ``min_lr``, or to ``min_lr_ratio`` times the initial rate."""

    def get_lr(self, runner: Any, base_lr: Any) -> Any:
        progress, planned = self._progress(runner)
        return annealing_linear(base_lr, self._floor(base_lr), progress / planned)
