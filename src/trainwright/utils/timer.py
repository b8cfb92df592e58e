"""A timer for scripts. What training takes is measured by the engine itself."""

from __future__ import annotations

import sys
from time import time
from typing import Any

from trainwright.base.errors import TrainwrightError


class TimerError(TrainwrightError):
    """A question to a timer that does not run."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class Timer:
    """Seconds since its start, and since the last look. As a context manager it writes them to stdout at the end."""

    def __init__(self, start: bool = True, print_tmpl: str | None = None) -> None:
        self._is_running = False
        self.print_tmpl = print_tmpl or "{:.3f}"
        if start:
            self.start()

    @property
    def is_running(self) -> bool:
        return self._is_running

    def __enter__(self) -> Timer:
        self.start()
        return self

    def __exit__(self, *error: Any) -> None:
        sys.stdout.write(f"{self.print_tmpl.format(self.since_last_check())}\n")
        self._is_running = False

    def start(self) -> None:
        now = time()
        if not self._is_running:
            self._t_start = now
            self._is_running = True
        self._t_last = now

    def since_start(self) -> float:
        return self._look() - self._t_start

    def since_last_check(self) -> float:
        before = getattr(self, "_t_last", 0.0)
        return self._look() - before

    def _look(self) -> float:
        if not self._is_running:
            raise TimerError("timer is not running: start() it before it is asked")
        self._t_last = time()
        return self._t_last


_g_timers: dict[Any, Timer] = {}


def check_time(timer_id: Any) -> float:
    """Seconds since the last call with this id, 0 at the first."""
    if timer_id in _g_timers:
        return _g_timers[timer_id].since_last_check()
    _g_timers[timer_id] = Timer()
    return 0
