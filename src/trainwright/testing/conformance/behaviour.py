"""What a behaviour is: a promise in one line, and a function that fails where a strategy breaks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from trainwright.testing.conformance.subject import Subject

Check = Callable[[Subject], None]


@dataclass(frozen=True)
class Behaviour:
    """One promise. `check` raises where the subject breaks it; a subject with fewer ranks than `n_ranks`, or fewer that
    see different data than `n_data_ranks`, can neither keep nor break it. `quick`: belongs to the short half."""

    name: str
    promise: str
    check: Check = field(repr=False)
    quick: bool = False
    n_ranks: int = 1
    n_data_ranks: int = 1

    @property
    def subject_matter(self) -> str:
        """What it is about: the last name of the module that has it."""
        return self.check.__module__.rpartition(".")[2]

    def applies_to(self, n_ranks: int, n_data_ranks: int) -> bool:
        """Whether a strategy with so many ranks can be asked."""
        return n_ranks >= self.n_ranks and n_data_ranks >= self.n_data_ranks


BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(quick: bool = False, n_ranks: int = 1, n_data_ranks: int = 1) -> Callable[[Check], Check]:
    """Make a function a behaviour of its name; its docstring is the promise."""

    def register(check: Check) -> Check:
        name: Any = getattr(check, "__name__", "")
        promise = " ".join((inspect.getdoc(check) or "").split())
        assert promise, f"{name} promises nothing"
        assert name not in BEHAVIOURS, f"there are two behaviours {name}"
        BEHAVIOURS[name] = Behaviour(name, promise, check, quick, n_ranks, n_data_ranks)
        return check

    return register
