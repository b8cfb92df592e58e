"""What has state to save."""

from __future__ import annotations

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
