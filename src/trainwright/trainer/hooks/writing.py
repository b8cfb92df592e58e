"""Calls the writers every so many iterations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.trainer.events import EventWriter
from trainwright.trainer.hook_base import HookBase


class PeriodicWriter(HookBase):
    """Has all ``writers`` write every ``period`` iterations and after the last one, and closes them after training.

    Register it last: values that other hooks put are written in their own iteration.
    """

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        self._writers = list(writers)
        for writer in self._writers:
            if not isinstance(writer, EventWriter):
                raise ConfigTypeError(
                    f"PeriodicWriter writers must be EventWriters, but got {writer!r} of type {type(writer).__name__}. "
                    "Subclass trainwright.trainer.EventWriter and define write()."
                )
        if period < 1:
            raise ConfigError(f"PeriodicWriter period must be at least 1 iteration, but got {period!r}.")
        self._period = period

    def after_step(self) -> None:
        """Write, when it is time."""
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        """Write what other hooks have put since, and close."""
        for writer in self._writers:
            try:
                writer.write()
            finally:
                writer.close()

    def state_dict(self) -> dict[str, Any]:
        """The states of the writers that have one, by their place in the list."""
        states = {str(index): state for index, writer in enumerate(self._writers) if (state := writer.state_dict())}
        return {"writers": states} if states else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore them; a place that there is no longer is left out."""
        states = state_dict.get("writers", {})
        for index, writer in enumerate(self._writers):
            if str(index) in states:
                writer.load_state_dict(states[str(index)])
