"""What the hooks of a run cost, measured around each call while somebody wants to know."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any

from trainwright.base.text import table
from trainwright.engine.events import Event, Phase

Call = Callable[..., Any]
KEPT_TIMES = 10_000  # newest calls of a hook at one event of which the median is taken
SLOW_SHARE = 0.05  # of the time of a run, from which on a hook is called slow
_OUTSIDE = (Event.BEFORE_RUN.value, Event.AFTER_RUN.value, Event.AFTER_LOAD_CHECKPOINT.value)
_BEFORE_ITER = {phase.before_iter.value: phase for phase in Phase}
_AFTER_ITER = {phase.after_iter.value: phase for phase in Phase}


@dataclass(slots=True)
class CallTimes:
    """Seconds of the calls of one hook at one event. The first one, which may set things up, is kept apart."""

    hook: str
    event: str
    first_s: float | None = None
    n_later: int = 0
    later_s: float = 0.0
    max_s: float = 0.0
    newest: array[float] = field(default_factory=lambda: array("d"))

    def add(self, seconds: float) -> None:
        """One more call."""
        if self.first_s is None:
            self.first_s = seconds
            return
        if len(self.newest) < KEPT_TIMES:
            self.newest.append(seconds)
        else:
            self.newest[self.n_later % KEPT_TIMES] = seconds
        self.n_later += 1
        self.later_s += seconds
        self.max_s = max(self.max_s, seconds)

    @property
    def n_calls(self) -> int:
        """All calls."""
        return self.n_later + (self.first_s is not None)

    @property
    def total_s(self) -> float:
        """All calls together."""
        return self.later_s + (self.first_s or 0.0)

    @property
    def median_s(self) -> float | None:
        """Median of the calls behind the first one; None when there was one only."""
        return median(self.newest) if self.newest else None

    @property
    def mean_s(self) -> float | None:
        """Mean of the calls behind the first one."""
        return self.later_s / self.n_later if self.n_later else None


@dataclass(slots=True)
class PhaseTimes:
    """Where the iterations of training, validation or test spent their time, in seconds."""

    n_iters: int = 0
    step_s: float = 0.0
    data_s: float = 0.0


class HookProfile:
    """Times every call of a hook. A hook that makes others be called, as one that saves a checkpoint does, is not
    charged for them.

    ``timer`` gives seconds. They are of the host: on a GPU a hook that reads a tensor waits for the steps before it,
    and is charged for that.
    """

    def __init__(self, timer: Callable[[], float] = perf_counter) -> None:
        self.phases = {phase: PhaseTimes() for phase in Phase}
        self._timer = timer
        self._calls: dict[tuple[int, str], CallTimes] = {}
        self._hooks: list[Any] = []  # kept, so that no other hook can get the identity of one
        self._inner_s = 0.0  # calls that were made inside the running one
        self._step_began = 0.0
        self._first: float | None = None
        self._last = 0.0

    @property
    def wall_s(self) -> float:
        """Seconds from the first event to the last one, without what comes before and after the loops."""
        return 0.0 if self._first is None else self._last - self._first

    @property
    def costs(self) -> list[CallTimes]:
        """The hooks at each of their events, the dearest first."""
        return sorted(self._calls.values(), key=lambda call: -call.total_s)

    def timed(self, hook: Any, event: str, call: Call) -> Call:
        """``call`` with a clock around it."""
        key = (id(hook), event)
        if key not in self._calls:
            self._hooks.append(hook)
            self._calls[key] = CallTimes(type(hook).__name__, event)
        times, timer = self._calls[key], self._timer

        def measured(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner_s = self._inner_s, 0.0
            began = timer()
            try:
                return call(*args, **kwargs)
            finally:
                spent = timer() - began
                times.add(spent - self._inner_s)
                self._inner_s = outer + spent

        return measured

    def framed(self, event: Event, calls: list[Call]) -> list[Call]:
        """The calls of ``event`` with marks at both ends, from which the times of steps and of the run are taken."""
        return [lambda host, *_: self._opens(event.value, host), *calls, lambda *_: self._closes(event.value)]

    @contextmanager
    def frame(self, name: str, host: Any) -> Iterator[None]:
        """The marks of an event that is fired by its name."""
        self._opens(name, host)
        yield
        self._closes(name)

    def _opens(self, name: str, host: Any) -> None:
        now = self._timer()
        if name in _OUTSIDE:
            return
        self._first = now if self._first is None else self._first
        self._last = now
        if name in _BEFORE_ITER:
            times = self.phases[_BEFORE_ITER[name]]
            context = getattr(host, "ctx", None)
            times.data_s += 0.0 if context is None else context.data_time_s
        elif name in _AFTER_ITER:
            times = self.phases[_AFTER_ITER[name]]
            times.n_iters += 1
            times.step_s += now - self._step_began

    def _closes(self, name: str) -> None:
        if name in _OUTSIDE:
            return
        self._last = self._timer()
        if name in _BEFORE_ITER:
            self._step_began = self._last

    # what is shown -------------------------------------------------------------------------------------------------

    def report(self) -> str:
        """A table of the hooks, the dearest first, and a sentence for each that is slow."""
        if self._first is None or not self.costs:
            return "hook costs: nothing was measured."
        wall = self.wall_s or 1e-9
        n_iters = max(self.phases[Phase.TRAIN].n_iters, 1)
        rows = [
            (
                call.hook,
                call.event,
                call.n_calls,
                *(_ms(value) for value in (call.median_s, call.mean_s, call.max_s if call.n_later else None)),
                _ms(call.first_s),
                _ms(call.total_s / n_iters),
                "-" if call.event in _OUTSIDE else f"{call.total_s / wall:.1%}",
            )
            for call in self.costs
            if call.n_calls
        ]
        header = ("hook", "event", "calls", "median", "mean", "max", "first call", "per iteration", "share")
        title = (
            f"hook costs in milliseconds of host time; median, mean and max without the first call\n{self._summary()}"
        )
        return "\n".join([title, table(rows, header), *self._slow_hooks(wall, n_iters)])

    def _summary(self) -> str:
        wall, hooks_s = self.wall_s or 1e-9, sum(call.total_s for call in self.costs if call.event not in _OUTSIDE)
        parts, rest = [], wall - hooks_s
        for phase, times in self.phases.items():
            if times.n_iters:
                parts.append(
                    f"{times.n_iters:,} iterations of {phase.label}: step {_ms(times.step_s / times.n_iters)} ms each "
                    f"({times.step_s / wall:.1%}), waiting for data {_ms(times.data_s / times.n_iters)} ms each "
                    f"({times.data_s / wall:.1%})"
                )
                rest -= times.step_s + times.data_s
        shares = f"hooks {hooks_s / wall:.1%}, the rest {max(rest, 0.0) / wall:.1%}"
        return "\n".join([*parts, f"{shares} of {wall:.2f} s"])

    def _slow_hooks(self, wall: float, n_iters: int) -> list[str]:
        by_hook: dict[int, list[CallTimes]] = {}
        for (hook, event), call in self._calls.items():
            if event not in _OUTSIDE:
                by_hook.setdefault(hook, []).append(call)
        slow = []
        for calls in by_hook.values():
            total, worst = sum(call.total_s for call in calls), max(calls, key=lambda call: call.total_s)
            if total / wall >= SLOW_SHARE:
                first = worst.first_s or 0.0
                why = f"most of it in {worst.event}"
                if worst.n_later and first > worst.later_s:
                    why = f"most of it in the first call of {worst.event} ({_ms(first)} ms)"
                cost = f"{total / wall:.1%} of the time, {_ms(total / n_iters)} ms an iteration"
                slow.append((total, f"{worst.hook} is slow: {cost}, {why}."))
        return [text for _, text in sorted(slow, key=lambda pair: -pair[0])]


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.3f}"
