"""The strategy that is asked, and the processes in which it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch._dynamo
import torch.distributed.fsdp  # noqa: F401 - both are what a rank would import by itself, in seconds; forked ranks have them

from trainwright.testing.conformance.task import Task
from trainwright.testing.ranks import run_alone, run_ranks

R = TypeVar("R")
# What one process found, by function and arguments: it is the same for every strategy.
_references: dict[str, Any] = {}


@dataclass(frozen=True)
class Subject:
    """A strategy, by its config (None: that of one process), on `n_ranks` ranks.

    `n_data_ranks` of them see different data (default: all). `optim_wrapper` has settings that every optimizer wrapper
    of this strategy needs; `settings` further ones of the strategy, by the behaviour that needs them. What is run is
    written below `folder`.
    """

    strategy: Mapping[str, Any] | None
    n_ranks: int
    folder: Path
    n_data_ranks: int | None = None
    optim_wrapper: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout_s: float = 120.0

    def asked_for(self, name: str) -> Subject:
        """This one with its settings for the behaviour of that name."""
        if name not in self.settings:
            return self
        return replace(self, strategy={**(self.strategy or {}), **self.settings[name]}, settings={})

    def here(self, func: Callable[..., R], *args: Any) -> list[R]:
        """``func(task, *args)`` on every rank of the strategy, in fresh processes; what each returned, by rank."""
        n_data_ranks = self.n_ranks if self.n_data_ranks is None else self.n_data_ranks
        strategy = None if self.strategy is None else dict(self.strategy)
        task = Task(self.folder / "here", strategy, n_data_ranks, dict(self.optim_wrapper))
        if self.n_ranks == 1:
            return [run_alone(func, task, *args, timeout_s=self.timeout_s)]
        return run_ranks(self.n_ranks, func, task, *args, timeout_s=self.timeout_s)

    def alone(self, func: Callable[..., R], *args: Any) -> R:
        """``func(task, *args)`` in one process, with batches as large as those of all ranks together."""
        key = f"{func.__module__}.{func.__qualname__}{args!r}"
        if key not in _references:
            task = Task(self.folder / "alone", None, 1, {})
            _references[key] = run_alone(func, task, *args, timeout_s=self.timeout_s)
        return _references[key]  # type: ignore[no-any-return]
