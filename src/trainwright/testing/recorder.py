"""Hooks that watch a run, or stop it at a chosen moment."""

from __future__ import annotations

from typing import Any

from trainwright.engine import Event, Hook


class EventRecorder(Hook):
    """Keeps what is fired, in order: ``events``, and ``moments`` with the counters ``(event, epoch, iter)``."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.moments: list[tuple[Event, int, int]] = []

    @property
    def events(self) -> list[Event]:
        """The events without the counters."""
        return [event for event, *_ in self.moments]

    def count(self, event: Event) -> int:
        """How often `event` was fired."""
        return self.events.count(event)


class StopAt(Hook):
    """Asks the run to stop when `event` is fired for the `nth` time (from 1), as Ctrl-C would when it `interrupts`."""

    priority = "LOWEST"

    def __init__(self, event: Event, nth: int, interrupts: bool = True) -> None:
        self.event, self.nth, self.interrupts = event, nth, interrupts
        self.n_seen = 0


def _recording(event: Event) -> Any:
    def record(self: EventRecorder, runner: Any, **values: Any) -> None:
        self.moments.append((event, runner.epoch, runner.iter))

    return record


def _stopping(event: Event) -> Any:
    def stop(self: StopAt, runner: Any, **values: Any) -> None:
        if event is self.event:
            self.n_seen += 1
            if self.n_seen == self.nth:
                runner.ctx.stop.request(f"{event.value} number {self.nth}", interrupts=self.interrupts)

    return stop


for _event in Event:
    setattr(EventRecorder, _event.value, _recording(_event))
    setattr(StopAt, _event.value, _stopping(_event))
