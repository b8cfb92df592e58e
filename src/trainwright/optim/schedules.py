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
from decimal import Decimal
from functools import lru_cache
from inspect import signature
from typing import Any, Literal

from trainwright.base.errors import ConfigError
from trainwright.optim import schedule_settings as settings
from trainwright.optim.schedule_settings import INF

__all__ = ["INF", "REQUIRED", "SCHEDULES", "Schedule"]

REQUIRED: Any = object()
_SPAN = {"begin": 0, "end": INF, "last_step": -1, "by_epoch": True, "verbose": False}
_CYCLE = {"total_steps": None, "pct_start": 0.3, "anneal_strategy": "cos"}


def constant(step: float, factor: float, total_iters: float) -> float:
    return factor if step == 0 or step < total_iters else 1.0


def linear(step: float, start_factor: float, end_factor: float, total_iters: float) -> float:
    if step == 0:
        return start_factor
    if step >= total_iters:
        return end_factor
    return start_factor + (end_factor - start_factor) * (step / total_iters)


def exponential(step: float, gamma: float) -> float:
    try:
        return float(gamma**step)
    except OverflowError:  # Python raises where tensors would become infinite
        return math.inf


def step_decay(step: float, step_size: int, gamma: float) -> float:
    return exponential(step // step_size, gamma)


def multistep(step: float, milestones: Sequence[int] | Mapping[int, int], gamma: float) -> float:
    if isinstance(milestones, Mapping):  # and how often each of them counts
        return _power(gamma, sum(times for milestone, times in milestones.items() if milestone <= step))
    return _power(gamma, bisect_right(milestones, step))


@lru_cache(maxsize=256)
def _power(base: float, exponent: int) -> float:
    """Of the number as it is written: 0.1 squared is 0.01, not the 0.010000000000000002 of floats."""
    return float(Decimal(str(float(base))) ** exponent)


def cosine(step: float, T_max: float) -> float:
    return (1.0 + math.cos(math.pi * step / T_max)) / 2.0


def poly(step: float, total_iters: float, power: float) -> float:
    if step == 0:
        return 1.0
    return max(0.0, 1.0 - step / total_iters) ** power if total_iters else 0.0


def plateau(step: float, factor: float) -> float:
    """What one reduction multiplies by; when there is one depends on the metric."""
    return factor


def one_cycle(
    step: float,
    total_steps: int,
    pct_start: float,
    anneal_strategy: str,
    three_phase: bool,
    div_factor: float,
    final_div_factor: float,
) -> float:
    """In shares of the initial value: up to `div_factor`, down to 1 / `final_div_factor`; over 1 in three phases."""
    turns = [1.0, div_factor, 1.0, 1 / final_div_factor] if three_phase else [1.0, div_factor, 1 / final_div_factor]
    return _through(step, turns, total_steps, pct_start, anneal_strategy)


def inverse_cycle(step: float, total_steps: int, pct_start: float, anneal_strategy: str, three_phase: bool) -> float:
    """From 1 down to 0 while the learning rate rises, and up again."""
    turns = [1.0, 0.0, 1.0, 1.0] if three_phase else [1.0, 0.0, 1.0]
    return _through(step, turns, total_steps, pct_start, anneal_strategy)


def anneal_cosine(start: float, end: float, factor: float, weight: float = 1.0) -> float:
    """From `start`, by a `weight` below 1 from nearer to `end`, to `end` while `factor` goes from 0 to 1."""
    return end + weight * (start - end) * cosine(factor, 1.0)


def anneal_linear(start: float, end: float, factor: float) -> float:
    """From `start` to `end` while `factor` goes from 0 to 1."""
    return start + (end - start) * factor


ANNEAL: dict[str, Callable[[float, float, float], float]] = {"cos": anneal_cosine, "linear": anneal_linear}


def repeated_cycle(
    step: int, phases: Sequence[Sequence[float]], period: int, gamma: float
) -> tuple[float, float, float]:
    """Where `step` is in cycles of `period` steps: the share of its phase, and what the phase leads from and to.

    `phases` are ``[begin, end, from, to]``, in shares of the initial value. In each cycle what is gained over the
    initial value is `gamma` times that of the cycle before.
    """
    cycle, within = divmod(step, period)
    scale = gamma**cycle
    for begin, end, first, last in phases:  # noqa: B007 - those that are left are meant
        if within < end:
            break
    if begin == 0:
        last = 1 - scale + last * scale
    else:
        first = 1 - scale + first * scale
    return (within - begin) / (end - begin), first, last


def inverse(step: float, gamma: float, power: float) -> float:
    """``1 / (1 + gamma * step) ** power``."""
    value: float = (1 + gamma * step) ** (-power)
    return value


def warm_up(step: float, kind: str, total_steps: float, ratio: float) -> float:
    """What a warm-up of `total_steps` multiplies by at `step`: from `ratio` towards 1, or `ratio` throughout."""
    if kind == "constant":
        return ratio
    left = 1 - step / total_steps
    value: float = 1 - left * (1 - ratio) if kind == "linear" else ratio**left
    return value


def _through(step: float, turns: list[float], total_steps: int, pct_start: float, anneal_strategy: str) -> float:
    """The value on the way from turn to turn; the last one is reached with the last of the steps."""
    if step > total_steps:
        raise ConfigError(
            f"a cycle of total_steps={total_steps} was asked for step {step}: it is over. Set total_steps to the "
            "length of the training, or `end` to the end of the cycle"
        )
    share, first, last = phase_at(step, cycle_phases(turns, total_steps, pct_start))
    return ANNEAL[anneal_strategy](first, last, min(share, 1.0))


def cycle_phases(turns: Sequence[Any], total_steps: int, pct_start: float) -> list[list[Any]]:
    """For each way from turn to turn ``[its last step, from, to]``; the last one ends with the last of the steps."""
    ends = [float(n * pct_start * total_steps) - n for n in range(1, len(turns) - 1)] + [total_steps - 1]
    return [[end, first, last] for end, first, last in zip(ends, turns, turns[1:], strict=False)]


def phase_at(step: float, phases: Sequence[Sequence[Any]]) -> tuple[float, Any, Any]:
    """The share of its phase that is over at `step`, and what the phase leads from and to.

    `phases` are like those of ``cycle_phases``. Behind the last one the share is above 1.
    """
    begin = before = 0
    for end, first, last in phases:  # noqa: B007 - those that are left are meant
        begin, before = before, end
        if step <= end:
            break
    return (1.0 if end == begin else (step - begin) / (end - begin)), first, last


def cosine_restart(step: float, periods: Sequence[int], cumulative_periods: Sequence[int]) -> float:
    step = min(step, cumulative_periods[-1] - 1)  # after the last period the value stays
    period = bisect_right(cumulative_periods, step)
    return cosine(step - (cumulative_periods[period] - periods[period]), periods[period])


def restart_weight(
    step: float, periods: Sequence[int], cumulative_periods: Sequence[int], restart_weights: Sequence[float]
) -> float | None:
    for period, end, weight in zip(periods, cumulative_periods, restart_weights, strict=True):
        if step == end - period:
            return weight
    return None


def warmup_stable_decay(
    step: float,
    warmup_steps: int,
    decay_steps: int,
    start_factor: float,
    end_factor: float,
    decay_type: str,
    total_steps: int,
) -> float:
    if step < warmup_steps:
        return start_factor + (1.0 - start_factor) * step / warmup_steps
    share = (step - (total_steps - decay_steps)) / decay_steps if decay_steps else 0.0
    if share <= 0.0:
        return 1.0
    return end_factor + (1.0 - end_factor) * settings.DECAYS[decay_type](min(share, 1.0))


def cosine_floor(base_values: Sequence[float], eta_min: float | None, eta_min_ratio: float | None) -> list[float]:
    if eta_min_ratio is None:
        return [eta_min or 0.0] * len(base_values)
    return [base * eta_min_ratio for base in base_values]


def fixed_floor(base_values: Sequence[float], eta_min: float) -> list[float]:
    return [eta_min] * len(base_values)


def always_anew(step: float) -> float | None:
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """One row of the table.

    ``arguments`` are the published ones in their published order, with defaults. ``prepare`` checks the schedule's own
    ones, given with ``begin`` and ``end``, and returns the settings. ``factor``, ``floor`` and ``origin`` take the
    settings that their parameters name. ``in_epochs`` are the arguments that count epochs when a span does.
    ``renews``: once the factor has been 0, the value rises again towards its initial value, not towards ``start``.
    ``origin``: the share of the initial value that ``start`` is set to at a step, whatever the present value; None:
    the schedule goes on from there.
    ``role``: a "factor" can be multiplied onto others, a "target" leads the value to one of its own, and "sets" does so
    without regard to the value it finds.
    """

    factor: Callable[..., float]
    arguments: Mapping[str, Any]
    prepare: Callable[[dict[str, Any]], dict[str, Any]]
    floor: Callable[..., list[float]] | None = None
    in_epochs: tuple[str, ...] = ()
    renews: bool = False
    origin: Callable[..., float | None] | None = None
    role: Literal["factor", "target", "sets"] = "factor"
    factor_settings: tuple[str, ...] = field(init=False)
    floor_settings: tuple[str, ...] = field(init=False)
    origin_settings: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("factor", "floor", "origin"):
            function = getattr(self, name)
            names = () if function is None else tuple(signature(function).parameters)[1:]
            object.__setattr__(self, f"{name}_settings", names)


SCHEDULES: dict[str, Schedule] = {
    "Constant": Schedule(constant, {"factor": 1.0 / 3, **_SPAN}, settings.of_constant),
    "Linear": Schedule(linear, {"start_factor": 1.0 / 3, "end_factor": 1.0, **_SPAN}, settings.of_linear),
    "Exponential": Schedule(exponential, {"gamma": REQUIRED, **_SPAN}, settings.of_exponential),
    "Step": Schedule(
        step_decay, {"step_size": REQUIRED, "gamma": 0.1, **_SPAN}, settings.of_step, in_epochs=("step_size",)
    ),
    "MultiStep": Schedule(
        multistep,
        {"milestones": REQUIRED, "gamma": 0.1, "last_step": -1, **_SPAN},
        settings.of_multistep,
        in_epochs=("milestones",),
    ),
    "CosineAnnealing": Schedule(
        cosine,
        {"T_max": None, "eta_min": None, **_SPAN, "eta_min_ratio": None},
        settings.of_cosine,
        floor=cosine_floor,
        in_epochs=("T_max",),
        renews=True,
        role="target",
    ),
    "Poly": Schedule(poly, {"eta_min": 0, "power": 1.0, **_SPAN}, settings.of_poly, floor=fixed_floor, role="target"),
    "OneCycle": Schedule(
        one_cycle,
        {"eta_max": 0, **_CYCLE, "div_factor": 25.0, "final_div_factor": 1e4, "three_phase": False, **_SPAN},
        settings.of_one_cycle,
        in_epochs=("total_steps",),
        origin=always_anew,
        role="sets",
    ),
    "OneCycleMomentum": Schedule(
        inverse_cycle,
        {"eta_max": 0.95, "eta_min": 0.85, **_CYCLE, "three_phase": False, **_SPAN},
        settings.of_inverse_cycle,
        floor=fixed_floor,
        in_epochs=("total_steps",),
        origin=always_anew,
        role="sets",
    ),
    "CosineRestart": Schedule(
        cosine_restart,
        {"periods": REQUIRED, "restart_weights": (1,), "eta_min": None, "eta_min_ratio": None, **_SPAN},
        settings.of_cosine_restart,
        floor=cosine_floor,
        in_epochs=("periods",),
        origin=restart_weight,
        role="sets",
    ),
    "WarmupStableDecay": Schedule(
        warmup_stable_decay,
        {
            "warmup_steps": REQUIRED,
            "decay_steps": REQUIRED,
            "start_factor": 0.0,
            "end_factor": 0.0,
            "decay_type": "linear",
            **_SPAN,
        },
        settings.of_warmup_stable_decay,
        in_epochs=("warmup_steps", "decay_steps"),
        role="target",
    ),
    "ReduceOnPlateau": Schedule(
        plateau,
        {
            "monitor": "loss",
            "rule": "less",
            "factor": 0.1,
            "patience": 10,
            "threshold": 1e-4,
            "threshold_rule": "rel",
            "cooldown": 0,
            "min_value": 0.0,
            "eps": 1e-8,
            **_SPAN,
        },
        settings.of_plateau,
    ),
}
