"""Hooks that are called by hand, with a runner of another kind that has plain attributes only.

Within a run hooks read its context: the clock, the metric store. Whoever calls a hook himself, in a test or from a
runner of his own, gets what MMEngine's hook does with ``runner.iter``, ``runner.message_hub`` and the like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from trainwright.engine.events import Phase
from trainwright.state import RunContext

_F = TypeVar("_F", bound=Callable[..., Any])


def by_hand(method: _F) -> _F:
    """Marks a hook's method that a run does not need: it is there for those who call it, and no event does."""
    method.__dict__["by_hand"] = True
    return method


def is_by_hand(method: object) -> bool:
    """Whether the method, as found on a class, is marked so."""
    return getattr(method, "by_hand", False) is True


def is_run(runner: Any) -> bool:
    """Whether ``runner`` has the context of a run."""
    return isinstance(getattr(runner, "ctx", None), RunContext)


def evaluates_alone(runner: Any) -> bool:
    """Whether a validation or a test is under way that is no part of a training."""
    return is_run(runner) and bool(runner.ctx.open_phases) and Phase.TRAIN not in runner.ctx.open_phases


@dataclass(frozen=True)
class PlainClock:
    """The counters of a runner that has plain attributes."""

    runner: Any

    @property
    def iter(self) -> Any:
        """The running iteration."""
        return self.runner.iter

    @property
    def epoch(self) -> Any:
        """The running epoch."""
        return self.runner.epoch

    @property
    def epoch_length(self) -> int:
        """Iterations of an epoch."""
        return len(self.runner.train_dataloader)


def clock_of(runner: Any) -> Any:
    """The clock of a run, else one that reads the attributes of ``runner``."""
    return runner.ctx.clock if is_run(runner) else PlainClock(runner)
