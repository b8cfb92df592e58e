"""What belongs to one run, opened by ``with``."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from trainwright.state.clock import Clock
from trainwright.state.message_hub import MessageHub
from trainwright.state.metrics import MetricStore
from trainwright.state.stop import StopFlag


class FiresEvents(Protocol):
    """The hook table of a run, as far as this floor needs to know it."""

    host: Any
    calls: Any
    wake_at: int

    def let_sleep(self, iteration: int) -> None:
        """Leave out the hooks that have nothing to do at ``iteration``."""
        ...

    def fire(self, event: Any, *values: Any) -> None:
        """Call the hooks of ``event`` with its values."""
        ...


class RunContext:
    """Clock, hooks, metrics, message hub and stop flag of one run.

    While it is open (``with ctx:``), ``MessageHub.get_current_instance()`` finds its hub. Contexts nest; the
    innermost open one counts, whichever was created last.
    """

    def __init__(self, name: str, hooks: FiresEvents, clock: Clock | None = None) -> None:
        self.name = name
        self.hooks = hooks
        self.clock = Clock() if clock is None else clock
        self.metrics = MetricStore(self.clock)
        self.hub = MessageHub(name, metrics=self.metrics)
        self.stop = StopFlag()
        self.open_phases: list[Any] = []  # outermost first
        self.opens_training = False  # whether before_train, fired by hand, opens the phase: inside run() of a loop
        self.is_opened_by_hand = False
        # Random streams of training, while a validation inside it draws from them: what a checkpoint must hold.
        self.training_streams: dict[str, Any] | None = None
        self.data_time_s = 0.0  # time that the loop waited for the batch of the running iteration

    def __enter__(self) -> RunContext:
        MessageHub._active.append(self.hub)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        MessageHub._active.pop()
