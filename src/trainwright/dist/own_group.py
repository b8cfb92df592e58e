"""A process group for what a thread does beside the training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

from torch import distributed as torch_dist

from trainwright.dist.process import get_world_size

_bound: ContextVar[Any] = ContextVar("process group of this thread", default=None)


def background_group(timeout_s: float) -> torch_dist.ProcessGroup | None:
    """A group of all ranks for collectives of another thread; None in one process. All ranks call this."""
    if get_world_size() == 1:
        return None
    return torch_dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))  # type: ignore[no-any-return]


def drop_group(group: torch_dist.ProcessGroup | None) -> None:
    """Let go of a group that :func:`background_group` made."""
    if group is not None and torch_dist.is_initialized():
        torch_dist.destroy_process_group(group)


@contextmanager
def on_group(group: torch_dist.ProcessGroup | None) -> Iterator[None]:
    """Within it collectives that name no group go through `group`: in this thread, or task, alone."""
    token = _bound.set(group)
    try:
        yield
    finally:
        _bound.reset(token)


def chosen(group: torch_dist.ProcessGroup | None) -> torch_dist.ProcessGroup | None:
    """`group`, or the one that :func:`on_group` says."""
    return _bound.get() if group is None else group
