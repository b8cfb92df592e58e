"""Which hooks are called at which event: tables made when a hook arrives, so that a silent hook costs nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trainwright.base.errors import HookError
from trainwright.base.text import did_you_mean
from trainwright.engine.events import Event
from trainwright.engine.hook import Hook, overrides
from trainwright.engine.priority import get_priority

Call = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of hooks is spoken to.

    ``points`` maps an event to a method name; ``takes_part(hook, name)`` says whether the hook does anything there;
    ``bind(method, host)`` gives the callable that is called with the event's keyword arguments.
    """

    base: type
    points: Mapping[Event, str]
    takes_part: Callable[[object, str], bool]
    bind: Callable[[Call, Any], Call]


def _pass_host_first(method: Call, host: Any) -> Call:
    return functools.partial(method, host)


MMENGINE = Dialect(Hook, {event: event.value for event in Event}, overrides, _pass_host_first)


class HookTable:
    """The hooks of a run in priority order (arrival breaks ties), and for each event the bound methods to call."""

    def __init__(self, host: Any, dialect: Dialect = MMENGINE) -> None:
        self.hooks: list[Any] = []
        self._host = host
        self._dialect = dialect
        self._calls: dict[Event, tuple[Call, ...]] = dict.fromkeys(Event, ())
        self._events = {name: event for event, name in dialect.points.items()}

    def add(self, hook: Any, priority: int | str | None = None) -> None:
        """Insert ``hook`` after all hooks of the same or an earlier priority; without one its own counts.

        Raises TypeError for what is no hook, HookError for a method that looks like an event and is none.
        """
        if not isinstance(hook, self._dialect.base):
            raise TypeError(f"hook must be an instance of {self._dialect.base.__name__}, but got {hook!r}.")
        self._check_names(hook)
        hook.priority = get_priority(hook.priority if priority is None else priority)
        place = len(self.hooks)
        while place and self.hooks[place - 1].priority > hook.priority:
            place -= 1
        self.hooks.insert(place, hook)
        self.rebuild()

    def _check_names(self, hook: Any) -> None:
        known = set(self._dialect.points.values()) | set(getattr(hook, "extra_points", ()))
        for cls in type(hook).__mro__:
            for name, member in vars(cls).items():
                if name.startswith(("before_", "after_")) and callable(member) and name not in known:
                    raise HookError(
                        f"{cls.__name__}.{name} looks like a hook point, but there is none of that name, so it would "
                        f"never be called.{did_you_mean(name, known)} For an event of your own that you fire with "
                        f"runner.call_hook({name!r}), set extra_points = ({name!r},) on the class."
                    )

    def rebuild(self) -> None:
        """Make the tables anew; needed only after ``hooks`` was changed by hand."""
        dialect = self._dialect
        for event, name in dialect.points.items():
            self._calls[event] = tuple(
                dialect.bind(getattr(hook, name), self._host) for hook in self.hooks if dialect.takes_part(hook, name)
            )

    def fire(self, event: Event, **kwargs: Any) -> None:
        """Call the hooks of ``event`` in order; the first error ends the round and is raised."""
        for call in self._calls[event]:
            call(**kwargs)

    def fire_named(self, name: str, **kwargs: Any) -> None:
        """Call hooks by method name: an event of this dialect, or any other method that some hooks have."""
        event = self._events.get(name)
        if event is not None:
            self.fire(event, **kwargs)
            return
        for hook in self.hooks:
            method = getattr(hook, name, None)
            if method is not None:
                self._dialect.bind(method, self._host)(**kwargs)
