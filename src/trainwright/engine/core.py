"""The two primitives that every loop is made of, and the frame around a phase."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from trainwright.base.errors import add_note
from trainwright.engine.events import Event, Phase
from trainwright.state import Completing, RunContext, StopAt

Step = Callable[[Any], Any]


class SpanEnd(enum.Enum):
    """Why a span of iterations ended."""

    LIMIT = "limit"
    EXHAUSTED = "exhausted"
    STOP = "stop"


def run_iter(ctx: RunContext, phase: Phase, step: Step, index: int, batch: Any) -> None:
    """One iteration: before_iter, ``outputs = step(batch)``, after_iter, then the clock advances (training only).

    ``index`` is the 0-based place of the batch in its epoch; hooks get it as ``batch_idx``.
    """
    # Written out rather than through HookTable.fire: this is the path whose every microsecond is paid each iteration.
    hooks, clock = ctx.hooks, ctx.clock
    calls, host = hooks.calls, hooks.host
    for call in calls[phase.before_iter]:
        call(host, index, batch)
    outputs = step(batch)
    if not phase.trains:
        for call in calls[phase.after_iter]:
            call(host, index, batch, outputs)
        return
    clock.completing = Completing.ITERATION
    if clock.iter >= hooks.wake_at:
        hooks.let_sleep(clock.iter)
    for call in calls[phase.after_iter]:
        call(host, index, batch, outputs)
    clock.tick()


def run_span(
    ctx: RunContext,
    batches: Iterator[Any],
    iterate: Callable[[int, Any], None],
    limit: int | None = None,
    start: int = 0,
    boundary: StopAt = StopAt.ITERATION,
) -> SpanEnd:
    """Pull up to ``limit`` batches (all when None) and call ``iterate(index, batch)`` for each, index from ``start``.

    The time that the pull took is left in ``ctx.data_time_s``. The stop flag is checked after each iteration, which is
    a ``boundary`` of that kind, so a batch that was pulled is always used.
    """
    stop = ctx.stop
    index, end = start, None if limit is None else start + limit
    while end is None or index < end:
        pulled = perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return SpanEnd.EXHAUSTED
        ctx.data_time_s = perf_counter() - pulled
        iterate(index, batch)
        index += 1
        if stop.at is not None and stop.ends(boundary):
            return SpanEnd.STOP
    return SpanEnd.LIMIT


@contextmanager
def open_phase(ctx: RunContext, phase: Phase) -> Iterator[None]:
    """The frame of a phase: before_*, the body, after_* on success; ON_EXCEPTION and re-raise on an error.

    Training ends with TRAIN_CLOSED in every case. A validation inside training reports its error once, from here
    outwards: only the phase that no other encloses fires ON_EXCEPTION.
    """
    ctx.open_phases.append(phase)
    failed: BaseException | None = None
    try:
        ctx.hooks.fire(phase.begin)
        yield
        ctx.hooks.fire(phase.end)
    except BaseException as error:
        failed = error
        if isinstance(error, Exception) and len(ctx.open_phases) == 1:
            ctx.hooks.fire(Event.ON_EXCEPTION, phase.label, error)
        raise
    finally:
        ctx.open_phases.pop()
        if phase.trains:
            _close(ctx, failed)


@contextmanager
def training_by_hand(ctx: RunContext) -> Iterator[None]:
    """The frame around ``run()`` of a training loop, which may be the user's: one that fires ``before_train`` itself
    opens the phase by that (:func:`begin_training`), and it ends here, as in :func:`open_phase`."""
    ctx.opens_training = True
    failed: BaseException | None = None
    try:
        try:
            yield
        except _Left:
            ctx.hooks.fire(Phase.TRAIN.end)
    except BaseException as error:
        failed = error
        if isinstance(error, Exception) and ctx.is_opened_by_hand:
            ctx.hooks.fire(Event.ON_EXCEPTION, Phase.TRAIN.label, error)
        raise
    finally:
        ctx.opens_training = False
        if ctx.is_opened_by_hand:
            ctx.is_opened_by_hand = False
            ctx.open_phases.remove(Phase.TRAIN)
            _close(ctx, failed)


def begin_training(ctx: RunContext) -> None:
    """A training loop of the user's is about to fire ``before_train``."""
    if ctx.opens_training and Phase.TRAIN not in ctx.open_phases:
        ctx.open_phases.append(Phase.TRAIN)
        ctx.is_opened_by_hand = True


class _Left(BaseException):
    """Takes a training that was interrupted out of a ``run()`` which looks at no stop flag."""


def leave_if_interrupted(ctx: RunContext) -> None:
    """A training loop of the user's is about to begin an iteration: not where a signal has asked for an end, which
    such a loop does not look for."""
    if ctx.is_opened_by_hand and ctx.stop.interrupts and ctx.stop.now:
        raise _Left


def _close(ctx: RunContext, failed: BaseException | None) -> None:
    """Fire TRAIN_CLOSED for every hook, whatever others do there: it is where they give back what they hold.

    The first error is raised with those of later hooks as notes; where training has failed already, all are notes of
    its error.
    """
    failures: list[Exception] = []
    for call in ctx.hooks.calls[Event.TRAIN_CLOSED]:
        try:
            call(ctx.hooks.host)
        except Exception as error:  # noqa: BLE001, PERF203 - raised below, when all have been called
            failures.append(error)
    if not failures:
        return
    first = failures[0] if failed is None else failed
    for failure in failures:
        if failure is not first:
            add_note(first, f"a hook's on_train_closed failed as well: {type(failure).__name__}: {failure}")
    if failed is None:
        raise first
