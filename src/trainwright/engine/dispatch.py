"""Which hooks are called at which event: tables made when a hook arrives, so that a silent hook costs nothing."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from trainwright.base.defaults import defaults
from trainwright.base.errors import HookError
from trainwright.base.logs import print_log
from trainwright.base.text import did_you_mean
from trainwright.engine.events import Event
from trainwright.engine.hook import Hook, is_periodic, overrides
from trainwright.engine.hook_profile import HookProfile
from trainwright.engine.priority import get_priority

Call = Callable[..., Any]
NEVER = 2**62  # an iteration that no run reaches


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of hooks is spoken to.

    ``points`` maps an event to a method name; ``takes_part(hook, name)`` says whether the hook does anything there;
    ``bind(method, parameters)`` gives what is called as ``call(host, *values)``, the values in the order of
    ``parameters``: the names of the event's arguments.
    """

    base: type[Any]
    points: Mapping[Event, str]
    takes_part: Callable[[object, str], bool]
    bind: Callable[[Call, tuple[str, ...]], Call]


def bind_by_name(method: Call, parameters: tuple[str, ...]) -> Call:
    """``method`` itself where it takes the event's arguments in their order, else a call with keywords.

    Calls by position are several times faster than calls by keyword; an override that names or orders its parameters
    in its own way must still get each value under its name.
    """
    try:
        own = [
            name
            for name, parameter in inspect.signature(method).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
    except (TypeError, ValueError):
        own = []
    if tuple(own[1 : 1 + len(parameters)]) == parameters:
        return method
    return lambda host, *values: method(host, **dict(zip(parameters, values, strict=True)))


MMENGINE = Dialect(Hook, {event: event.value for event in Event}, overrides, bind_by_name)


class HookTable:
    """The hooks of a run in priority order (arrival breaks ties), and for each event what to call.

    ``calls[event]`` are callables for ``call(host, *values)``; loops on the hot path go through them directly.
    """

    def __init__(self, host: Any, dialect: Dialect = MMENGINE) -> None:
        self.hooks: list[Any] = []
        self.host = host
        self.calls: dict[Event, tuple[Call, ...]] = dict.fromkeys(Event, ())
        self._dialect = dialect
        # At this iteration a sleeping hook must be asked again; see Hook.next_train_iter.
        self.wake_at = NEVER
        self._events = {name: event for event, name in dialect.points.items()}
        self._after_train_iter: list[tuple[Call | None, Call]] = []  # (next_train_iter of a periodic hook, call)
        self._profile: HookProfile | None = None

    @property
    def profile(self) -> HookProfile | None:
        """What measures the cost of the hooks; None, the default, measures nothing and costs nothing."""
        return self._profile

    @profile.setter
    def profile(self, profile: HookProfile | None) -> None:
        self._profile = profile
        self.rebuild()

    def add(self, hook: Any, priority: int | str | None = None) -> None:
        """Insert ``hook`` after all hooks of the same or an earlier priority; without one its own counts.

        Raises TypeError for what is no hook, HookError for a method that looks like an event and is none.
        """
        if not isinstance(hook, self._dialect.base):
            raise TypeError(f"hook should be an instance of {self._dialect.base.__name__}, but got {hook!r}.")
        self._check_names(hook)
        level = get_priority(hook.priority if priority is None else priority)
        if priority is not None:
            hook.priority = priority  # as it was given, a name or a number
        place = len(self.hooks)
        while place and get_priority(self.hooks[place - 1].priority) > level:
            place -= 1
        self.hooks.insert(place, hook)
        self.rebuild()

    def _check_names(self, hook: Any) -> None:
        known = set(self._dialect.points.values()) | set(getattr(hook, "extra_points", ()))
        for cls in type(hook).__mro__:
            for name, member in vars(cls).items():
                if name.startswith(("before_", "after_")) and callable(member) and name not in known:
                    text = (
                        f"{cls.__name__}.{name} looks like a hook point, but there is none of that name, so it would "
                        f"never be called.{did_you_mean(name, known)} For an event of your own that you fire with "
                        f"runner.call_hook({name!r}), set extra_points = ({name!r},) on the class."
                    )
                    if defaults.refuses_points:
                        raise HookError(text)
                    print_log(text, "current", logging.WARNING)

    def rebuild(self) -> None:
        """Make the tables anew; needed only after ``hooks`` was changed by hand."""
        for event, name in self._dialect.points.items():
            taking_part = [hook for hook in self.hooks if self._dialect.takes_part(hook, name)]
            bound = [self._bound(hook, name, event.parameters) for hook in taking_part]
            asks = [self._ask(hook) for hook in taking_part] if event is Event.AFTER_TRAIN_ITER else []
            if self._profile is not None:
                bound = self._profile.framed(event, bound)
                asks = [None, *asks, None] if asks else [None] * len(bound)
            self.calls[event] = tuple(bound)
            if event is Event.AFTER_TRAIN_ITER:
                self._after_train_iter = list(zip(asks, bound, strict=True))
        self.wake_at = NEVER

    def _bound(self, hook: Any, name: str, parameters: tuple[str, ...]) -> Call:
        call = self._dialect.bind(getattr(hook, name), parameters)
        return call if self._profile is None else self._profile.timed(hook, name, call)

    def _ask(self, hook: Any) -> Call | None:
        if not is_periodic(hook):
            return None
        ask: Call = hook.next_train_iter
        return ask if self._profile is None else self._profile.timed(hook, "next_train_iter", ask)

    def let_sleep(self, iteration: int) -> None:
        """Leave out of AFTER_TRAIN_ITER the hooks that have nothing to do at ``iteration``, until one of them has."""
        awake: list[Call] = []
        wake_at = NEVER
        for ask, call in self._after_train_iter:
            due = None if ask is None else ask(self.host)
            if due is None or due <= iteration:
                awake.append(call)
            if due is not None:
                wake_at = min(wake_at, max(due, iteration + 1))
        self.calls[Event.AFTER_TRAIN_ITER] = tuple(awake)
        self.wake_at = wake_at

    def fire(self, event: Event, *values: Any) -> None:
        """Call the hooks of ``event`` in order, with the values of its parameters; the first error ends the round."""
        for call in self.calls[event]:
            call(self.host, *values)

    def fire_named(self, name: str, **kwargs: Any) -> None:
        """Call hooks by method name, with keywords: an event of this dialect, or any other method that hooks have."""
        event = self._events.get(name)
        profile = self._profile
        with nullcontext() if profile is None else profile.frame(name, self.host):
            for hook in self.hooks:
                method = getattr(hook, name, None)
                if method is None or (event is not None and not self._dialect.takes_part(hook, name)):
                    continue
                call = method if profile is None else profile.timed(hook, name, method)
                call(self.host, **kwargs)
