"""The loop of a trainer whose step finds its batches itself."""

from __future__ import annotations

from typing import Any

from trainwright.engine import Event, HookTable, SpanEnd
from trainwright.engine.loops.flat import run_flat
from trainwright.state import Clock, RunContext


def test_it_runs_from_the_clock_to_its_end_with_events_around_each_step() -> None:
    log: list[Any] = []
    hooks = HookTable(None)
    hooks.calls[Event.BEFORE_TRAIN_ITER] = (lambda host, index, batch: log.append(("before", index, batch)),)
    hooks.calls[Event.AFTER_TRAIN_ITER] = (lambda host, index, batch, outputs: log.append(("after", index, outputs)),)
    clock = Clock(max_iters=4, iter=2)
    ctx = RunContext("flat", hooks, clock)
    assert ctx.clock is clock
    assert run_flat(ctx, lambda: log.append("step")) is SpanEnd.LIMIT
    assert log == [("before", 2, None), "step", ("after", 2, None), ("before", 3, None), "step", ("after", 3, None)]
    assert clock.iter == 4
    assert run_flat(ctx, lambda: log.append("again")) is SpanEnd.LIMIT
    assert "again" not in log


def test_a_stop_ends_it() -> None:
    ctx = RunContext("flat", HookTable(None), Clock(max_iters=10))

    def step() -> None:
        if ctx.clock.iter == 3:
            ctx.stop.request("enough")

    assert run_flat(ctx, step) is SpanEnd.STOP
    assert ctx.clock.iter == 4
