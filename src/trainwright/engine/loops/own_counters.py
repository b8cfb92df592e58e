"""Training loops that are derived from BaseLoop alone, and count for themselves as MMEngine's do."""

from __future__ import annotations

from typing import Any

from trainwright.engine.loops.base import length_or_none
from trainwright.engine.loops.train import TrainLoop
from trainwright.state import Clock, Completing


def follow_counters(loop: Any, clock: Clock) -> None:
    """Set the clock by ``loop.epoch``, ``iter``, ``max_epochs`` and ``max_iters``, where the loop has them and does
    not use the clock itself."""
    if loop is None or isinstance(loop, TrainLoop):
        return
    epoch, iteration = getattr(loop, "epoch", clock.epoch), getattr(loop, "iter", clock.iter)
    if (epoch, iteration) != (clock.epoch, clock.iter):
        clock.epoch, clock.iter, clock.completing = int(epoch), int(iteration), Completing.NOTHING
    clock.max_epochs = getattr(loop, "max_epochs", clock.max_epochs)
    clock.max_iters = getattr(loop, "max_iters", clock.max_iters)
    clock.epoch_length = length_or_none(loop.dataloader)


def set_counters(loop: Any, clock: Clock) -> None:
    """The other way round, after a resume: as MMEngine does, through ``_epoch`` and ``_iter``."""
    if loop is not None and not isinstance(loop, TrainLoop):
        loop._epoch, loop._iter = clock.epoch, clock.iter
