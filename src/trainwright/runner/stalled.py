"""What a rank that stands still is doing: read from the stack of its main thread, when somebody asks."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import CodeType, FrameType
from typing import Any

from trainwright.dist import get_rank
from trainwright.dist.pending import Recorded, recorded
from trainwright.engine import Event
from trainwright.engine.core import run_iter, run_span
from trainwright.optim import OptimWrapper

_PHASES = {"train": "training", "val": "validation", "test": "test"}
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass(frozen=True)
class Heartbeat:
    """Where a rank is. `where` is a hook or a part of the loop; `at` its innermost line outside of torch."""

    rank: int
    phase: str
    where: str
    epoch: int
    iter: int
    for_s: float
    at: str
    pending: str
    newest: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """In plain types, for the store."""
        return asdict(self)


def heartbeat(runner: Any, thread: int, since: float) -> tuple[Heartbeat, Recorded]:
    """Of this rank, whose main thread is `thread` and has stood still `since` a time of the monotonic clock."""
    frames = list(_frames(thread))
    ctx, found = runner.ctx, recorded()
    clock = ctx.clock
    phase = _PHASES.get(ctx.open_phases[-1].label, "") if ctx.open_phases else ""
    own = Heartbeat(
        rank=get_rank(),
        phase=phase or getattr(getattr(runner, "preemption", None), "stage", "") or "bring-up",
        where=_where(frames, _methods(runner)),
        epoch=int(clock.epoch),
        iter=int(clock.iter),
        for_s=time.monotonic() - since,
        at=_innermost(frames),
        pending="; ".join(map(str, found.pending)),
        newest=found.newest,
    )
    return own, found


def _frames(thread: int) -> Iterator[FrameType]:
    """The stack of a thread, outermost first."""
    frame = sys._current_frames().get(thread)
    stack = []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return reversed(stack)


def _methods(runner: Any) -> dict[CodeType, str]:
    """What methods of hooks are called in a report."""
    found: dict[CodeType, str] = {}
    for hook in runner.hooks:
        for event in Event:
            code = getattr(getattr(type(hook), event.value, None), "__code__", None)
            if code is not None:
                found[code] = f"hook {type(hook).__name__}.{event.value}"
    return found


def _where(frames: list[FrameType], hooks: dict[CodeType, str]) -> str:
    """The hook that runs, or else the part of the loop; from the outside in, the last word is the most exact."""
    where, in_step = "", False
    for frame in frames:
        code = frame.f_code
        if code in hooks:
            return hooks[code]
        if code is run_span.__code__:
            where, in_step = "data", False
        elif code is run_iter.__code__ or (where == "data" and code.co_name == "run_iter"):
            where, in_step = "forward", True
        elif in_step and code is OptimWrapper.update_params.__code__:
            where = "optimizer step"
        elif in_step and code.co_name == "backward":
            where = "backward"
        elif code.co_name in ("save_checkpoint", "finish_saves") and code.co_filename.startswith(_PACKAGE):
            return "save"
        elif code.co_name == "evaluate" and code.co_filename.startswith(_PACKAGE):
            return "metrics"
    return where or "between iterations"


def _innermost(frames: list[FrameType]) -> str:
    own = [frame for frame in frames if f"{os.sep}torch{os.sep}" not in frame.f_code.co_filename]
    if not own:
        return ""
    frame = own[-1]
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
