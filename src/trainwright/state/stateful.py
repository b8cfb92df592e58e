"""What has state to save."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Stateful(Protocol):
    """An object whose state goes into a checkpoint: tensors and plain data only, so that it can be read safely."""

    def state_dict(self) -> dict[str, Any]:
        """The state as tensors and plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a state that ``state_dict`` gave."""
        ...


def named_by_class(owners: Iterable[Any]) -> dict[str, Any]:
    """Each under a name of its own: its class, with a number from the second one of a class on."""
    named: dict[str, Any] = {}
    for owner in owners:
        base = type(owner).__name__
        n_same = sum(name.partition("#")[0] == base for name in named)
        named[f"{base}#{n_same}" if n_same else base] = owner
    return named
