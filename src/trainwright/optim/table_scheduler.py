"""A scheduler whose values come from a row of the table of :mod:`trainwright.optim.schedules`, and how to name one."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

from torch.optim import Optimizer

from trainwright.base.errors import ConfigTypeError, RuleError, demand
from trainwright.base.text import did_you_mean
from trainwright.optim.param_scheduler import (
    LRSchedulerMixin,
    MomentumSchedulerMixin,
    _ParamScheduler,
    check_optimizer,
)
from trainwright.optim.schedule_settings import INF, check_span, is_number
from trainwright.optim.schedules import REQUIRED, SCHEDULES, Schedule
from trainwright.optim.wrapper import BaseOptimWrapper
from trainwright.registry import PARAM_SCHEDULERS

_BASE_ARGUMENTS = ("begin", "end", "last_step", "by_epoch", "verbose")
C = TypeVar("C", bound="type[TableScheduler]")


class _Standing(NamedTuple):
    """What a value is made of: where each group started from, how far it has come, and what it tends to."""

    starts: list[float]
    factor: float
    floors: list[float]


class TableScheduler(_ParamScheduler):
    """A scheduler whose values come from a row of the table.

    The value is computed from the counter and the value that the span began with. Where something else changed it since
    the last step (another scheduler by another counter, a hook), that change is kept: it counts as a factor.
    """

    schedule: ClassVar[Schedule]

    def __init__(self, optimizer: BaseOptimWrapper | Optimizer, param_name: str, *args: Any, **kwargs: Any) -> None:
        given = self._bound(args, kwargs)
        check_span(given["begin"], given["end"], given["by_epoch"])
        self.__dict__.update(self.schedule.prepare(given))
        self._start: list[float] = []
        check_optimizer(optimizer, param_name)
        self._prepare_groups(optimizer, param_name, fresh=given["last_step"] == -1)
        super().__init__(optimizer, param_name, **{name: given[name] for name in _BASE_ARGUMENTS})

    @classmethod
    def checked_settings(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments as the constructor takes them, the optimizer apart; ConfigError where it would refuse them."""
        given = cls._bound((), kwargs)
        check_span(given["begin"], given["end"], given["by_epoch"])
        return {**given, **cls.schedule.prepare(given)}

    def _prepare_groups(self, optimizer: BaseOptimWrapper | Optimizer, param_name: str, fresh: bool) -> None:
        """What a schedule puts into the groups before their initial values are taken."""

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args: Any,
        begin: float = 0,
        end: float = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Build from arguments that count epochs a scheduler that steps every iteration, ``epoch_length`` an epoch."""
        demand(
            by_epoch is True,
            f"{cls.__name__}: only a scheduler with by_epoch=True can be converted, got {by_epoch!r}",
        )
        if not isinstance(epoch_length, int) or isinstance(epoch_length, bool) or epoch_length <= 0:
            raise RuleError(
                f"{cls.__name__}: converting epochs to iterations needs epoch_length, the iterations an epoch, as a "
                f"whole number above 0, got {epoch_length!r}"
            )
        for name in cls.schedule.in_epochs:
            if kwargs.get(name) is not None:
                kwargs[name] = _scaled(kwargs[name], epoch_length)
        end = end if end == INF else int(end * epoch_length)
        return cls(*args, begin=int(begin * epoch_length), end=end, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        schedule, step, name = self.schedule, self.last_step, self.param_name
        settings = [getattr(self, setting) for setting in schedule.factor_settings]
        factor = schedule.factor(step, *settings)
        anew = None if schedule.origin is None else self._origin(step)
        if anew is not None:
            self._start = [base * anew for base in self.base_values]
        else:
            present = [float(group[name]) for group in self.optimizer.param_groups]
            if step == 0:
                self._start = present
            elif present != self._last_value:
                before = schedule.factor(step - 1, *settings)
                self._restart(present, before, factor)
                if before == factor:
                    return present
        floors = self._floors()
        if floors is None:
            values = [start * factor for start in self._start]
        else:
            values = [low + (start - low) * factor for start, low in zip(self._start, floors, strict=False)]
        if factor == 0 and schedule.renews:
            self._start = list(self.base_values)
        return values

    def _origin(self, step: int) -> float | None:
        schedule = self.schedule
        assert schedule.origin is not None
        return schedule.origin(step, *[getattr(self, setting) for setting in schedule.origin_settings])

    def _floors(self) -> list[float] | None:
        schedule = self.schedule
        if schedule.floor is None:
            return None
        return schedule.floor(self.base_values, *[getattr(self, setting) for setting in schedule.floor_settings])

    def _restart(self, present: list[float], before: float, factor: float) -> None:
        """Take the start anew where the present value is not the one that this scheduler left behind."""
        fitting = self._start_that_gives(present, before, factor)
        if len(self._start) == len(self._last_value) == len(present):
            own = [now == was for now, was in zip(present, self._last_value, strict=True)]
            fitting = [old if is_own else new for new, old, is_own in zip(fitting, self._start, own, strict=True)]
        self._start = fitting

    def _start_that_gives(self, present: list[float], before: float, factor: float) -> list[float]:
        """The start values from which the values before this step would have come to be the present ones."""
        floors = self._floors() or [0.0] * len(present)
        if before != 0:
            return [low + (value - low) / before for value, low in zip(present, floors, strict=False)]
        if self.schedule.renews and factor != 0:
            triples = zip(self.base_values, present, floors, strict=False)
            return [base + (value - low) / factor for base, value, low in triples]
        return self._start or list(self.base_values)

    def _insert_group(self, index: int, group: dict[str, Any]) -> None:
        super()._insert_group(index, group)
        if self._start:  # what a schedule that has left 0 behind starts from; else the present value counts
            self._start.insert(index, float(group[self.param_name]))

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As the base; also takes MMEngine's state, which has no start values, and a list of milestones."""
        super().load_state_dict(state_dict)
        if "milestones" in self.schedule.factor_settings:
            self.milestones: dict[int, int] = dict(Counter(getattr(self, "milestones")))  # noqa: B009
        if "_start" not in state_dict:
            self._last_value = []  # matches nothing: the next step takes the start from the present values

    def settings(self) -> dict[str, Any]:
        """What the value is a function of, besides the counter and the value that the span began with."""
        row = self.schedule
        names = ["begin", "end", *row.factor_settings, *row.floor_settings, *row.origin_settings]
        return {name: getattr(self, name) for name in dict.fromkeys(names)}

    def take_settings(self, settings: dict[str, Any]) -> None:
        """Go on with other settings, an extended `end` for instance, as if they had been in force from the begin on.

        The counter stays, and the present values become those that the new settings give at it; what other schedulers
        have multiplied them by stays too.
        """
        before = self._factor_and_floors()
        self.__dict__.update(settings)
        if self._global_step < self.begin or before is None or not self._start:
            return
        self.last_step = int(min(self._global_step, self.end - 1) - self.begin)
        after = self._factor_and_floors()
        assert after is not None
        self._start = after.starts
        values = []
        for group, start, was, low_was, low in zip(
            self.optimizer.param_groups, after.starts, before.starts, before.floors, after.floors, strict=False
        ):
            own = low_was + (was - low_was) * before.factor
            wanted = low + (start - low) * after.factor
            present = float(group[self.param_name])
            values.append(wanted if present == own or own == 0 else present * (wanted / own))
        self._put(values)

    def _factor_and_floors(self) -> _Standing | None:
        """The start values, the factor and the floors at the counter; None before the first step."""
        if self.last_step < 0:
            return None
        row, step = self.schedule, self.last_step
        factor = row.factor(step, *[getattr(self, setting) for setting in row.factor_settings])
        anew = None if row.origin is None else self._origin(step)
        starts = list(self._start) if anew is None else [base * anew for base in self.base_values]
        return _Standing(starts, factor, self._floors() or [0.0] * len(self.base_values))

    @classmethod
    def _bound(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Arguments by name, with defaults."""
        names = list(cls.schedule.arguments)
        for name in kwargs:
            if name not in names:
                raise ConfigTypeError(
                    f"{cls.__name__} has no argument {name!r}: it takes {', '.join(names)}.{did_you_mean(name, names)}"
                )
        try:
            bound = _signature(cls.schedule, ()).bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigTypeError(f"{cls.__name__}: {error}; it takes {', '.join(names)}") from error
        bound.apply_defaults()
        return bound.arguments


def _signature(schedule: Schedule, leading: tuple[str, ...]) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in leading]
    for name, default in schedule.arguments.items():
        parameters.append(
            inspect.Parameter(name, kind, default=inspect.Parameter.empty if default is REQUIRED else default)
        )
    return inspect.Signature(parameters)


def _scaled(value: Any, epoch_length: int) -> Any:
    """Epochs to iterations; what is no number stays for the schedule's own check to refuse."""
    if isinstance(value, (list, tuple)):
        return [_scaled(item, epoch_length) for item in value]
    if not is_number(value):
        return value
    scaled = value * epoch_length
    return int(scaled) if scaled == int(scaled) else scaled


def shell(row: str) -> Callable[[C], C]:
    """Tie a class to its row: its values, the signature people and checks can read, and its name in the registry."""

    def finish(cls: C) -> C:
        cls.schedule = SCHEDULES[row]
        fixed = issubclass(cls, (LRSchedulerMixin, MomentumSchedulerMixin))
        leading = ("self", "optimizer") if fixed else ("self", "optimizer", "param_name")
        inherited = cls.__init__

        def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
            inherited(self, *args, **kwargs)

        __init__.__signature__ = _signature(cls.schedule, leading)  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[method-assign]
        PARAM_SCHEDULERS.register_module(module=cls)
        return cls

    return finish
