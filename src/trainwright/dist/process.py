"""Who am I: rank, world size and the guards built on them. Without a process group: rank 0 of 1."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from torch import distributed as torch_dist

P = ParamSpec("P")
R = TypeVar("R")


def is_distributed() -> bool:
    """Whether a default process group exists."""
    return torch_dist.is_available() and torch_dist.is_initialized()


def get_rank(group: torch_dist.ProcessGroup | None = None) -> int:
    """Rank of this process in `group` (the default group when None)."""
    return int(torch_dist.get_rank(group)) if is_distributed() else 0


def get_world_size(group: torch_dist.ProcessGroup | None = None) -> int:
    """Number of processes in `group` (the default group when None)."""
    return int(torch_dist.get_world_size(group)) if is_distributed() else 1


def get_dist_info(group: torch_dist.ProcessGroup | None = None) -> tuple[int, int]:
    """(rank, world size)."""
    return get_rank(group), get_world_size(group)


def is_main_process(group: torch_dist.ProcessGroup | None = None) -> bool:
    """Whether this is rank 0, the one that writes."""
    return get_rank(group) == 0


def master_only(func: Callable[P, R]) -> Callable[P, R | None]:
    """Decorator: run on rank 0 only; the other ranks return None at once."""

    @functools.wraps(func)
    def on_main(*args: P.args, **kwargs: P.kwargs) -> R | None:
        return func(*args, **kwargs) if is_main_process() else None

    return on_main
