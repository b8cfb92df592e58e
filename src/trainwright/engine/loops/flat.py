"""The loop of a trainer whose step finds its batches itself: one span of iterations, no epochs, no validation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import Any

from trainwright.engine.core import SpanEnd, run_iter, run_span
from trainwright.engine.events import Phase
from trainwright.state import RunContext


def run_flat(ctx: RunContext, step: Callable[[], Any]) -> SpanEnd:
    """``step()`` in every iteration from where the clock stands up to its ``max_iters``, or until training is stopped.

    Call it within ``open_phase``.
    """
    clock = ctx.clock
    iterate = partial(run_iter, ctx, Phase.TRAIN, lambda _: step())
    return run_span(ctx, repeat(None), iterate, max((clock.max_iters or 0) - clock.iter, 0), start=clock.iter)
