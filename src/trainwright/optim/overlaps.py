"""Schedulers that work against each other: which of those on one parameter may run at the same time.

Any number of factors may be multiplied onto each other and onto one schedule that leads the value somewhere: that is
how a warm-up runs beside a decay. Two schedules that each lead it to a value of their own give neither, and one that
sets the value wipes out what another did to it. A single step that two share is how one takes over from the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from trainwright.optim.param_scheduler import LRSchedulerMixin, MomentumSchedulerMixin
from trainwright.optim.table_scheduler import TableScheduler


class Span(NamedTuple):
    """Where and how a scheduler works. `unit` is "epochs" or "iterations".

    `role` as in the table. `sets_at`: the steps at which it sets the value; None: at each of them, if that is its role.
    `shared`: how many steps it may have in common with another. `waits`: it does nothing in its first step.
    """

    name: str
    param: str
    unit: str
    begin: float
    end: float
    role: str = "factor"
    sets_at: tuple[float, ...] | None = None
    shared: float = 1
    waits: bool = False

    def scaled(self, epoch_length: int | None) -> Span | None:
        """In iterations; None where that is not known."""
        if self.unit == "iterations":
            return self
        if epoch_length is None:
            return None
        sets_at = None if self.sets_at is None else tuple(step * epoch_length for step in self.sets_at)
        begin, end, shared = (value * epoch_length for value in (self.begin, self.end, self.shared))
        return self._replace(unit="iterations", begin=begin, end=end, shared=shared, sets_at=sets_at)

    @property
    def first_steps(self) -> Span:
        """As far as it is comparable with another unit: 0 is 0 in all of them."""
        sets_at = None if self.sets_at is None else tuple(step for step in self.sets_at if step == 0)
        return self._replace(unit="steps", end=min(self.end, 2), sets_at=sets_at, shared=1)


def span_of(kind: type[Any], settings: dict[str, Any], *, converted: bool = False) -> Span | None:
    """The span of a scheduler of class `kind` with `settings`; None of one that computes values in a way of its own."""
    if not issubclass(kind, TableScheduler) or "schedule" not in vars(kind):
        return None
    schedule = kind.schedule
    sets_at = None
    if "cumulative_periods" in settings:
        starts = (0, *settings["cumulative_periods"][:-1])
        sets_at = tuple(settings["begin"] + start for start in starts)
    param = settings.get("param_name")
    if issubclass(kind, (LRSchedulerMixin, MomentumSchedulerMixin)):
        param = "lr" if issubclass(kind, LRSchedulerMixin) else "momentum"
    return Span(
        kind.__name__,
        str(param),
        "epochs" if settings["by_epoch"] else "iterations",
        settings["begin"],
        settings["end"],
        schedule.role,
        sets_at,
        shared=0 if converted else 1,
        waits=bool(getattr(kind, "need_val_args", False)),
    )


def overlaps(spans: Sequence[Span | None], epoch_length: int | None = None) -> Iterator[tuple[int, int, str]]:
    """(number of one, number of a later one, what is wrong) for each two that work against each other.

    They stand in the order in which they step. Spans in different units are compared in iterations, and where
    `epoch_length` is not known, at their beginning.
    """
    for later, second in enumerate(spans):
        for earlier, first in enumerate(spans[:later]):
            if first is not None and second is not None and first.param == second.param:
                text = _conflict(*_comparable(first, second, epoch_length))
                if text:
                    yield earlier, later, text


def _comparable(first: Span, second: Span, epoch_length: int | None) -> tuple[Span, Span]:
    if first.unit == second.unit:
        return first, second
    one, other = first.scaled(epoch_length), second.scaled(epoch_length)
    return (first.first_steps, second.first_steps) if one is None or other is None else (one, other)


def _conflict(first: Span, second: Span) -> str:
    begin, end = max(first.begin, second.begin), min(first.end, second.end)
    if end - begin <= max(first.shared, second.shared):
        return ""
    where = f"in {first.unit} {begin:g} to {end:g}" if first.unit != "steps" else "from the first step on"
    for one, other in ((first, second), (second, first)):
        if one.role == "sets" and one.sets_at is None:
            return (
                f"{one.name} sets {one.param} in each step, so what {other.name} does to it {where} has no effect or a "
                "wrong one. Let one end where the other begins (`end`, `begin`), or take one out: a cycle has a "
                "warm-up and a decay of its own."
            )
    if first.role != "factor" and second.role != "factor":
        return (
            f"{first.name} and {second.name} both lead {first.param} to a value of their own {where}, and the result "
            "would be neither. Let one end where the other begins (`end`, `begin`); only factors (Linear, Constant, "
            "Exponential, Step, MultiStep, ReduceOnPlateau) can be multiplied onto another schedule."
        )
    for one, other, is_later in ((first, second, False), (second, first, True)):
        for step in one.sets_at or ():
            lost = other.begin < step < other.end or (step == other.begin and is_later and not other.waits)
            if lost and step < one.end:
                unit = "" if first.unit == "steps" else f" ({first.unit})"
                return (
                    f"{one.name} sets {one.param} anew at {step:g}{unit}, where {other.name} is at work: what that did "
                    f"until then is lost, and what it does next is too much. Put {one.name} before {other.name} in the "
                    "list when both begin together, and let no later restart fall into the other's span."
                )
    return ""
