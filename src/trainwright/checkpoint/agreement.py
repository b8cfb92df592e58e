"""Of several ranks the first one decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from trainwright import dist

R = TypeVar("R")


def decided(func: Callable[[], R]) -> R:
    """``func()`` of rank 0, on every rank; an error there is raised on all. All ranks call this."""
    if dist.get_world_size() == 1:
        return func()
    outcome: list[Any] = [None, None]
    if dist.is_main_process():
        try:
            outcome[0] = func()
        except Exception as error:  # noqa: BLE001 - raised below, on every rank
            outcome[1] = error
    dist.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    result: R = outcome[0]
    return result
