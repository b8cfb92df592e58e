"""What the hooks for learning rate and momentum have in common: when they set values, warm-up, dicts of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from numbers import Number
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.compat.mmcv1.errors import LackingError, RuleError, demand
from trainwright.compat.mmcv1.runner.hooks.hook import Hook
from trainwright.optim.schedules import ANNEAL, multistep, repeated_cycle, step_decay, warm_up

WARM_UPS = ("constant", "linear", "exp")
Values = list[Any] | dict[str, list[Any]]  # one for each group of the optimizer, or of each optimizer by name


class NoOptimizerError(ConfigError, AttributeError):
    """A hook that sets values of an optimizer, where there is none."""


class UpdaterHook(Hook):
    """Sets values at the begin of each epoch, or with ``by_epoch=False`` of each iteration, and in a warm-up before.

    A warm-up counts iterations from 0 on and changes the regular values of its iteration.
    """

    warmup_iters: int | None

    def __init__(self, by_epoch: bool, warmup: str | None, warmup_iters: int, warmup_ratio: float) -> None:
        name = type(self).__name__
        if warmup is not None:
            if warmup not in WARM_UPS:
                raise ConfigError(f"{name} warmup must be None or one of {', '.join(WARM_UPS)}, got {warmup!r}")
            demand(warmup_iters > 0, f"{name} warmup_iters must be a positive integer, got {warmup_iters!r}")
            demand(0 < warmup_ratio <= 1.0, f"{name} warmup_ratio must be in range (0, 1], got {warmup_ratio!r}")
        self.by_epoch = by_epoch
        self.warmup = warmup
        self.warmup_iters = warmup_iters
        self.warmup_ratio = warmup_ratio

    def _regulate(self, runner: Any) -> None:
        """Compute the regular values of now."""
        raise NotImplementedError

    def _set(self, runner: Any, warm_up_step: int | None) -> None:
        """Set the regular values, or with a step those of the warm-up."""
        raise NotImplementedError

    def before_train_epoch(self, runner: Any) -> None:
        """Set the values of the epoch."""
        if self.by_epoch:
            self._regulate(runner)
            self._set(runner, None)

    def before_train_iter(self, runner: Any) -> None:
        """Set the values of the iteration, or those of the warm-up."""
        step, end = runner.iter, self.warmup_iters
        if end is None:
            raise RuleError(
                f"{type(self).__name__} warmup_by_epoch=True needs the length of an epoch, and no epoch has begun: a "
                "runner that counts iterations has none. Give warmup_iters in iterations, with warmup_by_epoch=False"
            )
        if self.by_epoch and (self.warmup is None or step > end):
            return
        if not self.by_epoch:
            self._regulate(runner)
        self._set(runner, step if self.warmup is not None and step < end else None)

    def idle_at(self, stage: str) -> bool:
        """Whether this hook has nothing to do at `stage`, so that it need not be called in each iteration."""
        own = type(self).before_train_iter is UpdaterHook.before_train_iter
        return own and stage == "before_train_iter" and self.by_epoch and self.warmup is None

    def _warm_up_factor(self, step: int) -> float:
        assert self.warmup is not None
        assert self.warmup_iters is not None
        return warm_up(step, self.warmup, self.warmup_iters, self.warmup_ratio)

    def _passed(self, runner: Any) -> int:
        """How many epochs have passed, or with ``by_epoch=False`` iterations."""
        passed: int = runner.epoch if self.by_epoch else runner.iter
        return passed

    def _progress(self, runner: Any) -> tuple[int, int]:
        """How many epochs have passed and how many there will be; or iterations."""
        planned = runner.max_epochs if self.by_epoch else runner.max_iters
        if planned is None:
            unit, other = ("max_epochs", "False") if self.by_epoch else ("max_iters", "True")
            raise ConfigTypeError(
                f"{type(self).__name__} by_epoch={self.by_epoch} needs the length of the training, and the runner's "
                f"{unit} is None. Set it, or by_epoch={other}"
            )
        return self._passed(runner), planned


class Cycles:
    """What the Cyclic policies of learning rate and momentum share."""

    def __init__(
        self,
        by_epoch: bool,
        target_ratio: Any,
        cyclic_times: int,
        step_ratio_up: float,
        anneal_strategy: str,
        gamma: float,
        **kwargs: Any,
    ) -> None:
        name = type(self).__name__
        self.target_ratio = checked_cycle(name, target_ratio, step_ratio_up)
        self.cyclic_times = cyclic_times
        self.step_ratio_up = step_ratio_up
        self.gamma = gamma
        self.max_iter_per_phase = 0
        self.anneal_func = anneal_function(name, anneal_strategy)
        check_by_iteration(name, by_epoch)
        super().__init__(by_epoch, **kwargs)  # type: ignore[call-arg]

    def _phases(self, n_iters: int) -> list[list[Any]]:
        """A cycle, of which there are ``cyclic_times`` in `n_iters`: ``[begin, end, from, to]`` in shares of the
        initial value."""
        period = self.max_iter_per_phase = n_iters // self.cyclic_times
        top = int(self.step_ratio_up * period)
        return [[0, top, 1, self.target_ratio[0]], [top, period, *self.target_ratio]]

    def _in_cycle(self, base: float, step: int, phases: list[Any]) -> float:
        share, first, last = repeated_cycle(step, phases, self.max_iter_per_phase, self.gamma)
        return self.anneal_func(base * first, base * last, share)


def per_optimizer(optimizer: Any, function: Callable[[str, Any], Any]) -> Any:
    """``function(name, optimizer)``, for a dict of optimizers as a dict; a single one goes by the name of its class."""
    if isinstance(optimizer, dict):
        return {name: function(name, each) for name, each in optimizer.items()}
    if optimizer is None:
        raise NoOptimizerError(
            "a hook for learning rate or momentum needs an optimizer, and the runner was made without: give it one, or "
            "lr_config=None and momentum_config=None"
        )
    return function(type(optimizer).__name__, optimizer)


def set_each(optimizer: Any, values: Any, put: Callable[[Any, Any], None]) -> None:
    """``put(parameter groups, values)`` for each optimizer."""
    if isinstance(optimizer, dict):
        for name, each in optimizer.items():
            put(each.param_groups, values[name])
    else:
        put(optimizer.param_groups, values)


def initial_values(optimizer: Any, key: str, value_of: Callable[[str, dict[str, Any]], Any]) -> Values:
    """What the groups have under `key`; where they have nothing yet, ``value_of(name, group)``, which they keep."""
    found: Values = per_optimizer(
        optimizer, lambda name, one: [group.setdefault(key, value_of(name, group)) for group in one.param_groups]
    )
    return found


def map_values(values: Values, function: Callable[[Any], Any]) -> Values:
    """``function`` of each value, in the same form."""
    if isinstance(values, dict):
        return {name: [function(value) for value in each] for name, each in values.items()}
    return [function(value) for value in values]


def format_param(name: str, optim: Any, param: Any) -> Any:
    """The values of `param` for the groups of `optim`: one number for all, one each, or a dict by `name`.

    Raises ValueError for another number of values than there are groups, KeyError for a dict without `name`.
    """
    n_groups = len(optim.param_groups)
    if isinstance(param, Number):
        return [param] * n_groups
    if isinstance(param, (list, tuple)):
        if len(param) != n_groups:
            raise ConfigError(f"expected {n_groups} values for {name}, one for each parameter group, got {len(param)}")
        return param
    if name not in param:
        raise LackingError(f"{name} is not found in {list(param)}: give a value for each optimizer")
    return format_param(name, optim, param[name])


def checked_step(name: str, step: Any) -> int | list[int]:
    """`step` of a Step policy: the interval, or the list of steps at which the value falls."""
    if not isinstance(step, (int, list)):
        raise ConfigTypeError(f"{name} step must be a list or integer, got {step!r} of type {type(step).__name__}")
    whole = all(isinstance(each, int) and each > 0 for each in (step if isinstance(step, list) else [step]))
    demand(whole, f"{name} step must be positive integers, got {step!r}")
    return step


def stepped(base: float, progress: int, step: int | list[int], gamma: float, least: float | None) -> float:
    """The value of a Step policy; it counts a milestone of a list only when those before it have passed."""
    if isinstance(step, int):
        value = base * step_decay(progress, step, gamma)
    else:
        value = base * multistep(progress, list(accumulate(step, max)), gamma)
    return value if least is None else max(value, least)


def check_floor(hook: str, value: str, least: Any, ratio: Any) -> None:
    """An annealing leads to a value or to a share of the initial one."""
    demand(
        (least is None) != (ratio is None),
        f"{hook} needs either min_{value} or min_{value}_ratio, got {least!r} and {ratio!r}",
    )


def floor_of(base: Any, least: Any, ratio: Any) -> Any:
    """Where an annealing from `base` leads to."""
    return least if ratio is None else base * ratio


def check_share(name: str, argument: str, share: Any) -> float:
    """A share of the training."""
    if not isinstance(share, float) or not 0 <= share <= 1:
        raise ConfigError(f"{name} {argument}: expected float between 0 and 1, got {share!r}")
    return share


def anneal_function(name: str, strategy: Any) -> Callable[[float, float, float], float]:
    """What ``anneal_strategy`` stands for."""
    if strategy not in ANNEAL:
        raise ConfigError(f'{name} anneal_strategy must be one of "cos" or "linear", got {strategy!r}')
    return ANNEAL[strategy]


def check_by_iteration(name: str, by_epoch: Any) -> None:
    """The policies that go up and down are made of iterations."""
    demand(not by_epoch, f"{name} supports by_epoch=False only, got {by_epoch!r}")


def checked_cycle(name: str, target_ratio: Any, step_ratio_up: float) -> tuple[float, float]:
    """The two ratios of a Cyclic policy; a single one goes down to a 100,000th of it."""
    if isinstance(target_ratio, float):
        target_ratio = (target_ratio,)
    if not isinstance(target_ratio, tuple):
        raise ConfigError(
            f"{name} target_ratio should be either float or tuple, got {target_ratio!r} of type "
            f"{type(target_ratio).__name__}"
        )
    if len(target_ratio) == 1:
        target_ratio = (target_ratio[0], target_ratio[0] / 1e5)
    demand(len(target_ratio) == 2, f"{name} target_ratio must be two floats, got {target_ratio!r}")
    demand(0 <= step_ratio_up < 1.0, f"{name} step_ratio_up must be in range [0, 1), got {step_ratio_up!r}")
    first, last = target_ratio
    return first, last
