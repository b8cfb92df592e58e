"""Schedules that are longer than the run they are for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trainwright import registry
from trainwright.engine import EpochBasedTrainLoop, IterBasedTrainLoop
from trainwright.optim import INF
from trainwright.runner.checks.components import Component, loops, schedulers
from trainwright.runner.checks.problem import Problem, warning
from trainwright.runner.checks.resolve import resolve


class Horizon(NamedTuple):
    """How long training is: a number of epochs or iterations, and the key that says so."""

    last: float
    by_epoch: bool
    key: str


def check_schedules(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Schedulers that the training ends before; nothing is wrong with a trial run, but the result is not that of the
    whole schedule. Compared is only what counts in the same unit.
    """
    horizon = horizon_of(spec)
    if horizon is None:
        return
    for scheduler in schedulers(spec):
        if isinstance(scheduler.cfg, dict):
            yield from _check(scheduler, horizon)


def horizon_of(spec: Mapping[str, Any]) -> Horizon | None:
    """The length of training; None where a loop of one's own decides it, or the setting is wrong."""
    loop = next((component for component in loops(spec) if component.where == ("train_cfg",)), None)
    if loop is None:
        return None
    kind = resolve((), loop.kind, registry.LOOPS).target
    for base, name in ((EpochBasedTrainLoop, "max_epochs"), (IterBasedTrainLoop, "max_iters")):
        last: Any = dict.get(loop.cfg, name)
        if isinstance(kind, type) and issubclass(kind, base) and _is_number(last):
            return Horizon(last, name == "max_epochs", f"train_cfg.{name}")
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check(scheduler: Component, horizon: Horizon) -> Iterator[Problem]:
    cfg = dict(dict.items(scheduler.cfg))
    by_epoch = cfg.get("by_epoch", True)
    if by_epoch is not horizon.by_epoch:
        if by_epoch is True and not cfg.get("convert_to_iter_based"):
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
