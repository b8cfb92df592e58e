"""Whether an optimizer steps before its schedules do, which otherwise leave out their first value."""

from __future__ import annotations

import warnings
from typing import Any

from torch.optim import Optimizer

_NOTED = "_has_stepped"


def note_steps(optimizer: Any) -> None:
    """Have the optimizer, or its wrapper, note its next step. The steps after that one are as if this had not been."""
    watched = _NOTED in vars(optimizer) and not getattr(optimizer, _NOTED)
    setattr(optimizer, _NOTED, False)
    if watched:
        return

    def note(*_: Any) -> None:
        setattr(optimizer, _NOTED, True)
        stop()

    if isinstance(optimizer, Optimizer):
        stop = optimizer.register_step_post_hook(note).remove
    else:
        stop = optimizer.before_step(note)


def warn_unless_stepped(optimizer: Any) -> None:
    """Warn where the optimizer has not stepped since `note_steps`, or its step was replaced since."""
    if getattr(optimizer, _NOTED, True):
        return
    warnings.warn(
        "a schedule goes on although its optimizer has not made a step, or has a `step` that was put there after the "
        "schedule was made: call `optimizer.step()` before `scheduler.step()`, or the first value of the schedule is "
        "left out. See https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate",
        UserWarning,
        stacklevel=3,
    )
