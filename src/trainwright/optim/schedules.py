"""Schedules as pure functions of the counter, in one table. A row is all that a new schedule needs.

A value runs from the one found at the begin of its span (`start`) towards a `floor`:

    value(step) = floor + (start - floor) * factor(step)

with `step` counted from the begin of the span. That is the product form which schedulers on one parameter chain by, and
a function of the counter alone, so that resuming or plotting cannot drift.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError

INF = int(1e9)  # "never": the default end of a span
REQUIRED: Any = object()
_SPAN = {"begin": 0, "end": INF, "last_step": -1, "by_epoch": True, "verbose": False}


def constant(step: float, factor: float, total_iters: float) -> float:
    return factor if step < total_iters else 1.0


def linear(step: float, start_factor: float, end_factor: float, total_iters: float) -> float:
    if step == 0:
        return start_factor
    if step >= total_iters:
        return end_factor
    return start_factor + (end_factor - start_factor) * (step / total_iters)


def multistep(step: float, milestones: Sequence[int], gamma: float) -> float:
    return gamma ** bisect_right(milestones, step)


def cosine(step: float, T_max: float) -> float:
    return (1.0 + math.cos(math.pi * step / T_max)) / 2.0


def cosine_floor(base_values: Sequence[float], eta_min: float | None, eta_min_ratio: float | None) -> list[float]:
    if eta_min_ratio is None:
        return [eta_min or 0.0] * len(base_values)
    return [base * eta_min_ratio for base in base_values]


@dataclass(frozen=True)
class Schedule:
    """One row of the table.

    ``arguments`` are the published ones in their published order, with defaults. ``prepare`` checks the schedule's own
    ones, given with ``begin`` and ``end``, and returns the settings. ``factor`` and ``floor`` take the settings that
    their parameters name. ``in_epochs`` are the arguments that count epochs when a span does.
    ``renews``: once the factor has been 0, the value rises again towards its initial value, not towards ``start``.
    """

    factor: Callable[..., float]
    arguments: Mapping[str, Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]]
    floor: Callable[..., list[float]] | None = None
    in_epochs: tuple[str, ...] = ()
    renews: bool = False
    factor_settings: tuple[str, ...] = field(init=False)
    floor_settings: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor_settings", tuple(signature(self.factor).parameters)[1:])
        floor = () if self.floor is None else tuple(signature(self.floor).parameters)[1:]
        object.__setattr__(self, "floor_settings", floor)


def is_number(value: Any) -> bool:
    """A real number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_span(begin: Any, end: Any, by_epoch: Any) -> None:
    """Refuse a span that no counter can be in."""
    if not isinstance(by_epoch, bool):
        raise ConfigTypeError(
            f"by_epoch must be True (count epochs) or False (count iterations), got {by_epoch!r} of type "
            f"{type(by_epoch).__name__}"
        )
    for name, value in (("begin", begin), ("end", end)):
        if not is_number(value):
            raise ConfigTypeError(f"{name} must be a number of steps, got {value!r} of type {type(value).__name__}")
    if begin < 0:
        raise ConfigError(f"begin must not be below 0, got {begin!r}: 0 is the first step of the run")
    if end <= begin:
        raise ConfigError(
            f"end must be above begin, got begin={begin!r} and end={end!r}: the span is [begin, end), counted in "
            f"{'epochs' if by_epoch else 'iterations'}"
        )


def _share(name: str, value: Any) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError(
            f"{name} must be a number from 0 to 1, got {value!r}: it multiplies the value to be scheduled"
        )
    return float(value)


def _prepare_constant(given: dict[str, Any]) -> dict[str, Any]:
    return {"factor": _share("factor", given["factor"]), "total_iters": given["end"] - given["begin"] - 1}


def _prepare_linear(given: dict[str, Any]) -> dict[str, Any]:
    factors = {name: _share(name, given[name]) for name in ("start_factor", "end_factor")}
    return {**factors, "total_iters": given["end"] - given["begin"] - 1}


def _prepare_multistep(given: dict[str, Any]) -> dict[str, Any]:
    milestones, gamma = given["milestones"], given["gamma"]
    whole = isinstance(milestones, (list, tuple)) and all(isinstance(m, int) and m >= 0 for m in milestones)
    if not whole:
        raise ConfigError(
            f"milestones must be a list of whole numbers of steps since begin, got {milestones!r}; for instance "
            "milestones=[8, 11]"
        )
    if any(after <= before for before, after in zip(milestones, milestones[1:], strict=False)):
        raise ConfigError(
            f"milestones must rise, got {milestones!r}: each is the step from which the value is multiplied by gamma "
            f"once more. Did you mean {sorted(set(milestones))!r}?"
        )
    if not is_number(gamma) or gamma < 0:
        raise ConfigError(
            f"gamma must be a number of at least 0, got {gamma!r}: it multiplies the value at a milestone"
        )
    return {"milestones": list(milestones), "gamma": gamma}


def _prepare_cosine(given: dict[str, Any]) -> dict[str, Any]:
    T_max, eta_min, ratio = given["T_max"], given["eta_min"], given["eta_min_ratio"]
    if T_max is None:
        T_max = given["end"] - given["begin"]
    if not is_number(T_max) or T_max <= 0:
        raise ConfigError(
            f"T_max must be a number of steps above 0, got {T_max!r}: it is the length of the fall from the initial "
            "value to the lowest. Leave it out to use the whole span, end - begin"
        )
    if eta_min is not None and ratio is not None:
        raise ConfigError(
            f"eta_min and eta_min_ratio both say the lowest value, got eta_min={eta_min!r} and "
            f"eta_min_ratio={ratio!r}: give one, a value or a share of the initial value"
        )
    for name, value in (("eta_min", eta_min), ("eta_min_ratio", ratio)):
        if value is not None and not is_number(value):
            raise ConfigTypeError(f"{name} must be a number or None, got {value!r} of type {type(value).__name__}")
    return {"T_max": T_max, "eta_min": 0.0 if eta_min is None and ratio is None else eta_min, "eta_min_ratio": ratio}


SCHEDULES: dict[str, Schedule] = {
    "Constant": Schedule(constant, {"factor": 1.0 / 3, **_SPAN}, _prepare_constant),
    "Linear": Schedule(linear, {"start_factor": 1.0 / 3, "end_factor": 1.0, **_SPAN}, _prepare_linear),
    "MultiStep": Schedule(
        multistep,
        {"milestones": REQUIRED, "gamma": 0.1, "last_step": -1, **_SPAN},
        _prepare_multistep,
        in_epochs=("milestones",),
    ),
    "CosineAnnealing": Schedule(
        cosine,
        {"T_max": None, "eta_min": None, **_SPAN, "eta_min_ratio": None},
        _prepare_cosine,
        floor=cosine_floor,
        in_epochs=("T_max",),
        renews=True,
    ),
}
