"""Phases in turn, as a workflow names them: so many epochs or iterations of each, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainwright.engine.core import SpanEnd, run_span
from trainwright.engine.events import Phase
from trainwright.state import Completing, RunContext, rng

Plan = Sequence[tuple[str, int]]  # (name of a phase, how many epochs or iterations of it)


@dataclass
class Turn:
    """Whose turn it is in a workflow: the index of the phase, and how much of its share is done."""

    phase: int = 0
    done: int = 0


def run_rounds(plan: Plan, turn: Turn, is_over: Callable[[], bool], run_share: Callable[[int, int], None]) -> None:
    """Round after round of ``plan``, from ``turn`` on, until a round would begin and ``is_over()``.

    ``run_share(index, n)`` runs ``n`` units of the phase with that index, and counts them in ``turn.done``.
    """
    while turn.phase or turn.done or not is_over():
        for index in range(turn.phase, len(plan)):
            turn.phase = index
            run_share(index, plan[index][1] - turn.done)
            turn.done = 0
        turn.phase = 0


def run_units(n: int, turn: Turn, goes_on: Callable[[], bool], run_one: Callable[[], None]) -> None:
    """Up to ``n`` units of a phase, as long as ``goes_on()``."""
    for _ in range(n):
        if not goes_on():
            break
        run_one()
        turn.done += 1


def run_epoch(
    ctx: RunContext, phase: Phase, enter: Callable[[], Iterator[Any]], iterate: Callable[[int, Any], None]
) -> None:
    """One epoch: its events around all batches that are left of the pass that ``enter()`` gives.

    The counters advance after the last event of a training epoch. A checkpoint that is saved inside any other phase
    holds the random streams of its beginning, where a run that resumes begins it again.
    """
    ctx.training_streams = None if phase.trains else rng.capture()
    try:
        ctx.hooks.fire(phase.before_epoch)
        end = run_span(ctx, enter(), iterate, start=ctx.clock.inner_iter if phase.trains else 0)
        if end is SpanEnd.STOP:
            return
        if phase.trains:
            ctx.clock.completing = Completing.EPOCH
        ctx.hooks.fire(phase.after_epoch)
        if phase.trains:
            ctx.clock.close_epoch()
    finally:
        ctx.training_streams = None
