"""Schedules with wrong settings, schedules that work against each other, and those longer than the run they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trainwright import registry
from trainwright.base.durations import parse_duration, whole_number
from trainwright.base.errors import ConfigError
from trainwright.engine import EpochBasedTrainLoop, IterBasedTrainLoop
from trainwright.optim import INF, REQUIRED, TableScheduler
from trainwright.optim.overlaps import Span, overlaps, span_of
from trainwright.runner.checks.components import Component, loops, schedulers
from trainwright.runner.checks.problem import Problem, Where, dotted, warning
from trainwright.runner.checks.resolve import resolve


class Horizon(NamedTuple):
    """How long training is: a number of epochs or iterations, and the key that says so."""

    last: float
    by_epoch: bool
    key: str


class Known(NamedTuple):
    """A scheduler of the table whose settings are known to be right."""

    where: Where
    kind: type[TableScheduler]
    settings: dict[str, Any]
    converted: bool


def check_schedules(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Wrong settings; schedulers of one parameter of one optimizer that work against each other; and those that the
    training ends before: nothing is wrong with a trial run, but the result is not that of the whole schedule. Compared
    is only what counts in the same unit.
    """
    horizon = horizon_of(spec)
    known: dict[Any, list[Known]] = {}
    for scheduler in schedulers(spec):
        if not isinstance(scheduler.cfg, dict):
            continue
        kind = resolve((), scheduler.kind, registry.PARAM_SCHEDULERS).target
        if isinstance(kind, type) and issubclass(kind, TableScheduler) and "schedule" in vars(kind):
            found = _settings(scheduler, kind, horizon)
            if isinstance(found, Problem):
                yield found
                continue
            if found is not None:
                names = [key for key in scheduler.where[1:] if isinstance(key, str)]
                known.setdefault(tuple(names), []).append(found)
        if horizon is not None:
            yield from _check(scheduler, horizon, waits=bool(getattr(kind, "need_val_args", False)))
    for group in known.values():
        yield from _overlaps(group)
        yield from (problem for each in group for problem in _runs_out(each, horizon))


def _settings(scheduler: Component, kind: type[TableScheduler], horizon: Horizon | None) -> Known | Problem | None:
    """The settings with their defaults, or what is wrong; None where that is told elsewhere or not known yet."""
    cfg = {key: value for key, value in dict.items(scheduler.cfg) if key not in ("type", "optimizer")}
    converted, param_name = bool(cfg.pop("convert_to_iter_based", False)), cfg.pop("param_name", None)
    if converted:
        cfg.pop("epoch_length", None)
    arguments = kind.schedule.arguments
    required = [name for name, default in arguments.items() if default is REQUIRED]
    if any(name not in arguments for name in cfg) or any(name not in cfg for name in required):
        return None
    if converted and any(_has_fractions(cfg.get(name)) for name in kind.schedule.in_epochs):
        return None
    if horizon is not None and "end" not in cfg and cfg.get("by_epoch", True) is horizon.by_epoch:
        cfg["end"] = horizon.last
    try:
        if converted and getattr(kind, "need_val_args", False):
            kind.build_iter_from_epoch()
        settings = kind.checked_settings(cfg)
    except ConfigError as error:
        name = str(error).partition(" ")[0]
        where = (*scheduler.where, name) if name in scheduler.cfg else scheduler.where
        return Problem(where, f"{kind.__name__}: {error}", error=type(error))
    return Known(scheduler.where, kind, {**settings, "param_name": param_name}, converted)


def _has_fractions(value: Any) -> bool:
    items = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(item, float) and item % 1 != 0 for item in items)


def _overlaps(group: list[Known]) -> Iterator[Problem]:
    spans: list[Span | None] = [span_of(each.kind, each.settings, converted=each.converted) for each in group]
    for earlier, later, text in overlaps(spans):
        yield Problem(group[later].where, f"works against {dotted(group[earlier].where)}. {text}")


def _runs_out(scheduler: Known, horizon: Horizon | None) -> Iterator[Problem]:
    """A cycle cannot be stepped beyond its end."""
    settings = scheduler.settings
    total = settings.get("total_steps")
    if horizon is None or scheduler.kind.schedule.role != "sets" or total is None:
        return
    last = min(settings["end"], horizon.last)
    if settings["by_epoch"] is horizon.by_epoch and settings["begin"] + total < last:
        yield Problem(
            (*scheduler.where, "total_steps"),
            f"{scheduler.kind.__name__} is over after {settings['begin'] + total:g} "
            f"{'epochs' if horizon.by_epoch else 'iterations'} (begin + total_steps), and training goes on to "
            f"{horizon.key}={horizon.last}: leave total_steps out, or set `end` to where the cycle ends.",
        )


def horizon_of(spec: Mapping[str, Any]) -> Horizon | None:
    """The length of training; None where a loop of one's own decides it, or the setting is wrong."""
    loop = next((component for component in loops(spec) if component.where == ("train_cfg",)), None)
    if loop is None:
        return None
    kind = resolve((), loop.kind, registry.LOOPS).target
    for base, name in ((EpochBasedTrainLoop, "max_epochs"), (IterBasedTrainLoop, "max_iters")):
        if isinstance(kind, type) and issubclass(kind, base):
            last, key = _planned(loop.cfg, name, base.unit)
            return None if last is None else Horizon(last, name == "max_epochs", f"train_cfg.{key}")
    return None


def _planned(cfg: dict[str, Any], name: str, unit: str) -> tuple[float | None, str]:
    """The planned end that a loop's config names, and the key that does; None where it is wrong or not known ahead."""
    value, duration = dict.get(cfg, name), dict.get(cfg, "max_duration")
    try:
        if value is None and duration is not None:
            found = parse_duration(duration, "max_duration")
            return (found.amount if found.kind == unit else None), "max_duration"
        if isinstance(value, str):
            return whole_number(value, name, unit), name
    except ConfigError:  # which is told by itself
        return None, name
    return (value if _is_number(value) else None), name


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(scheduler: Component, horizon: Horizon, waits: bool) -> Iterator[Problem]:
    cfg = dict(dict.items(scheduler.cfg))
    by_epoch = cfg.get("by_epoch", True)
    if by_epoch is not horizon.by_epoch:
        if by_epoch is True and not waits and not cfg.get("convert_to_iter_based"):
            text = f"counts epochs, and training that counts iterations ({horizon.key}={horizon.last}) is one epoch: "
            yield warning(scheduler.where, f"{_name(cfg)} {text}it would never step. Set by_epoch=False.")
        return
    late = dict(_beyond(cfg, horizon.last))
    if late:
        unit = "epochs" if horizon.by_epoch else "iterations"
        named = " and ".join(f"{name}={value!r}" for name, value in late.items())
        yield warning(
            (*scheduler.where, next(iter(late))),
            f"{_name(cfg)} outlasts the run: {named} {'is' if len(late) == 1 else 'are'} beyond {horizon.key}="
            f"{horizon.last} {unit}, so the schedule is cut off. For the whole of it in a shorter run, scale it too.",
        )


def _beyond(cfg: dict[str, Any], last: float) -> Iterator[tuple[str, Any]]:
    """Settings that name a step after the last one; what counts from `begin` is moved there."""
    begin: Any = cfg.get("begin", 0)
    end: Any = cfg.get("end")
    if not _is_number(begin):
        return
    if last <= begin < INF:
        yield "begin", begin
    if _is_number(end) and last + 1 < end < INF:  # one more is how a decay reaches its end with the last step
        yield "end", end
    elif end is not None:
        return  # it stops before T_max and the milestones that lie beyond
    for name in ("T_max", "total_steps"):
        if _is_number(cfg.get(name)) and last < begin + cfg[name] < INF:
            yield name, cfg[name]
    milestones = cfg.get("milestones")
    if isinstance(milestones, (list, tuple)) and any(_is_number(m) and begin + m >= last for m in milestones):
        yield "milestones", milestones


def _name(cfg: dict[str, Any]) -> str:
    kind = cfg.get("type")
    return str(getattr(kind, "__name__", kind))
