"""What each schedule is told, checked: from the arguments to the settings that its functions take.

Each ``of_...`` gets all arguments by name, ``begin`` and ``end`` among them, and needs no optimizer. A message begins
with the name of the argument that is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError
from trainwright.base.text import did_you_mean

INF = int(1e9)  # "never": the default end of a span

ANNEALINGS = ("cos", "linear")
# How a warm-up-stable-decay schedule falls: the part of the way down that is left, by the share of it that is over.
DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda share: 1.0 - share,
    "cosine": lambda share: (1.0 + math.cos(math.pi * share)) / 2.0,
    "1-sqrt": lambda share: 1.0 - math.sqrt(share),
}


def is_number(value: Any) -> bool:
    """A real number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


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
            f"end should be larger than begin, but got begin={begin!r} and end={end!r}: the span is [begin, end), "
            f"counted in {'epochs' if by_epoch else 'iterations'}"
        )


def of_constant(given: dict[str, Any]) -> dict[str, Any]:
    return {"factor": _share("factor", given["factor"]), "total_iters": given["end"] - given["begin"] - 1}


def of_linear(given: dict[str, Any]) -> dict[str, Any]:
    factors = {name: _share(name, given[name]) for name in ("start_factor", "end_factor")}
    return {**factors, "total_iters": given["end"] - given["begin"] - 1}


def of_exponential(given: dict[str, Any]) -> dict[str, Any]:
    return {"gamma": _gamma(given["gamma"], "in every step")}


def of_step(given: dict[str, Any]) -> dict[str, Any]:
    step_size = given["step_size"]
    if not _is_whole(step_size, 1):
        raise ConfigError(
            f"step_size must be a whole number of steps of at least 1, got {step_size!r}: the value is multiplied by "
            "gamma after each so many"
        )
    return {"step_size": step_size, "gamma": _gamma(given["gamma"], "after each step_size steps")}


def of_multistep(given: dict[str, Any]) -> dict[str, Any]:
    milestones = given["milestones"]
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
    return {"milestones": dict.fromkeys(milestones, 1), "gamma": _gamma(given["gamma"], "at a milestone")}


def of_cosine(given: dict[str, Any]) -> dict[str, Any]:
    T_max = given["T_max"]
    if T_max is None:
        T_max = given["end"] - given["begin"]
    if not is_number(T_max) or T_max <= 0:
        raise ConfigError(
            f"T_max must be a number of steps above 0, got {T_max!r}: it is the length of the fall from the initial "
            "value to the lowest. Leave it out to use the whole span, end - begin"
        )
    return {"T_max": T_max, **_lowest(given)}


def of_poly(given: dict[str, Any]) -> dict[str, Any]:
    eta_min, power = given["eta_min"], given["power"]
    if not is_number(eta_min):
        raise ConfigTypeError(f"eta_min must be a number, got {eta_min!r} of type {type(eta_min).__name__}")
    if not is_number(power) or power < 0:
        raise ConfigError(
            f"power must be a number of at least 0, got {power!r}: 1 is a straight line down to eta_min, more falls "
            "faster at first"
        )
    return {"eta_min": eta_min, "power": power, "total_iters": given["end"] - given["begin"] - 1}


def of_one_cycle(given: dict[str, Any]) -> dict[str, Any]:
    eta_max = given["eta_max"]
    if not all(is_number(value) and value > 0 for value in _each(eta_max)):
        raise ConfigError(
            f"eta_max must be a number above 0, or a list of one for each parameter group, got {eta_max!r}: it is the "
            "value in the middle of the cycle"
        )
    for name in ("div_factor", "final_div_factor"):
        if not is_number(given[name]) or given[name] <= 0:
            raise ConfigError(
                f"{name} must be a number above 0, got {given[name]!r}: the cycle begins at eta_max / div_factor and "
                "ends at that divided by final_div_factor"
            )
    divisors = {name: float(given[name]) for name in ("div_factor", "final_div_factor")}
    return {"eta_max": eta_max, **divisors, **_cycle(given)}


def of_inverse_cycle(given: dict[str, Any]) -> dict[str, Any]:
    low, high = given["eta_min"], given["eta_max"]
    for name, value in (("eta_max", high), ("eta_min", low)):
        if not is_number(value) or not 0 <= value < 1:
            raise ConfigError(f"{name} must be a number from 0 to below 1, got {value!r}: it is a momentum")
    if low > high:
        raise ConfigError(f"eta_min must not be above eta_max, got eta_min={low!r} and eta_max={high!r}")
    return {"eta_max": high, "eta_min": low, **_cycle(given)}


def of_cosine_restart(given: dict[str, Any]) -> dict[str, Any]:
    periods, weights = given["periods"], given["restart_weights"]
    if not isinstance(periods, (list, tuple)) or not periods or not all(_is_whole(p, 1) for p in periods):
        raise ConfigError(
            f"periods must be a list of whole numbers of steps, each at least 1, got {periods!r}; for instance "
            "periods=[10, 20]"
        )
    if not isinstance(weights, (list, tuple)) or not all(is_number(w) and w >= 0 for w in weights):
        raise ConfigError(
            f"restart_weights must be a list of numbers of at least 0, got {weights!r}: each is the share of the "
            "initial value that its period begins with"
        )
    if len(weights) != len(periods):
        raise RuleError(
            f"restart_weights must have one number for each period, got {len(weights)} ({weights!r}) for "
            f"{len(periods)} periods ({periods!r})"
        )
    own = {"periods": list(periods), "restart_weights": list(weights)}
    return {**own, "cumulative_periods": list(accumulate(periods)), **_lowest(given)}


def of_warmup_stable_decay(given: dict[str, Any]) -> dict[str, Any]:
    total = given["end"] - given["begin"]
    for name in ("warmup_steps", "decay_steps"):
        if not _is_whole(given[name], 0):
            raise ConfigError(f"{name} must be a whole number of steps of at least 0, got {given[name]!r}")
    warmup, decay = given["warmup_steps"], given["decay_steps"]
    if warmup + decay > total:
        raise ConfigError(
            f"warmup_steps and decay_steps must fit into the span, got {warmup} + {decay} steps in one of {total}: "
            "shorten them, or set `end` later"
        )
    kind = _one_of("decay_type", given["decay_type"], DECAYS)
    factors = {name: _share(name, given[name]) for name in ("start_factor", "end_factor")}
    return {"warmup_steps": warmup, "decay_steps": decay, **factors, "decay_type": kind, "total_steps": total}


def of_plateau(given: dict[str, Any]) -> dict[str, Any]:
    names = ("monitor", "factor", "patience", "threshold", "cooldown", "min_value", "eps")
    if given["by_epoch"] is not True:
        raise RuleError(
            f"by_epoch must be True for a schedule that steps after validation, got {given['by_epoch']!r}: `begin` and "
            "`end` count epochs; in training that counts iterations leave them out"
        )
    _one_of("rule", given["rule"], ("less", "greater"))
    _one_of("threshold_rule", given["threshold_rule"], ("rel", "abs"))
    if not isinstance(given["monitor"], str):
        raise ConfigTypeError(f"monitor must be the name of a metric, got {given['monitor']!r}")
    if not is_number(given["factor"]) or not 0 <= given["factor"] < 1:
        raise ConfigError(
            f"factor must be a number from 0 to below 1, got {given['factor']!r}: each reduction multiplies by it"
        )
    for name in ("patience", "cooldown"):
        if not _is_whole(given[name], 0):
            raise ConfigError(f"{name} must be a whole number of validations of at least 0, got {given[name]!r}")
    for name in ("threshold", "eps"):
        if not is_number(given[name]) or given[name] < 0:
            raise ConfigError(f"{name} must be a number of at least 0, got {given[name]!r}")
    if not all(is_number(value) for value in _each(given["min_value"])):
        raise ConfigError(
            f"min_value must be a number, or a list of one for each parameter group, got {given['min_value']!r}"
        )
    rules = {name: given[name] for name in ("rule", "threshold_rule")}
    return {**{name: given[name] for name in names}, **rules}


def per_group(name: str, value: Any, n_groups: int, has_base: bool) -> list[float]:
    """One value for each group from a number or a list. `has_base`: the last group only shows the base settings; a list
    need not have a value for it."""
    if not isinstance(value, (list, tuple)):
        return [value] * n_groups
    values = list(value)
    if has_base and len(values) == n_groups - 1:
        values.append(values[-1])
    if len(values) != n_groups:
        raise ConfigError(
            f"{name} must be a number or have one for each of the {n_groups - has_base} parameter groups, got "
            f"{len(value)}: {value!r}"
        )
    return values


def _cycle(given: dict[str, Any]) -> dict[str, Any]:
    total, pct_start, three_phase = given["total_steps"], given["pct_start"], given["three_phase"]
    if total is None:
        total = int(given["end"] - given["begin"])
    if not _is_whole(total, 1):
        raise ConfigError(
            f"total_steps must be a whole number of steps of at least 1, got {total!r}: it is the length of the cycle. "
            "Leave it out to use the whole span, end - begin"
        )
    if not is_number(pct_start) or not 0 <= pct_start <= 1:
        raise ConfigError(
            f"pct_start must be a number from 0 to 1, got {pct_start!r}: it is the share of the cycle that is spent on "
            "the way up"
        )
    if not isinstance(three_phase, bool):
        raise ConfigTypeError(f"three_phase must be True or False, got {three_phase!r}")
    kind = _one_of("anneal_strategy", given["anneal_strategy"], ANNEALINGS)
    return {"total_steps": total, "pct_start": pct_start, "anneal_strategy": kind, "three_phase": three_phase}


def _lowest(given: dict[str, Any]) -> dict[str, Any]:
    eta_min, ratio = given["eta_min"], given["eta_min_ratio"]
    if eta_min is not None and ratio is not None:
        raise RuleError(
            f"eta_min and eta_min_ratio both say the lowest value, got eta_min={eta_min!r} and "
            f"eta_min_ratio={ratio!r}: give one, a value or a share of the initial value"
        )
    for name, value in (("eta_min", eta_min), ("eta_min_ratio", ratio)):
        if value is not None and not is_number(value):
            raise ConfigTypeError(f"{name} must be a number or None, got {value!r} of type {type(value).__name__}")
    return {"eta_min": 0.0 if eta_min is None and ratio is None else eta_min, "eta_min_ratio": ratio}


def _gamma(value: Any, when: str) -> float:
    if not is_number(value) or value < 0:
        raise ConfigError(f"gamma must be a number of at least 0, got {value!r}: it multiplies the value {when}")
    return float(value)


def _share(name: str, value: Any) -> float:
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError(
            f"{name} must be a number from 0 to 1, got {value!r}: it multiplies the value to be scheduled"
        )
    return float(value)


def _one_of(name: str, value: Any, known: Iterable[str]) -> str:
    names = list(known)
    if value not in names:
        listed = " or ".join(map(repr, names)) if len(names) == 2 else ", ".join(map(repr, names))
        raise ConfigError(f"{name} must be one of {listed}, got {value!r}.{did_you_mean(str(value), names)}")
    return str(value)


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
