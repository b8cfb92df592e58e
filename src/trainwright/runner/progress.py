"""A live progress bar on a terminal; elsewhere the log lines are enough."""

from __future__ import annotations

import datetime
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any

from trainwright.engine import Phase
from trainwright.hooks import IterTimerHook

REDRAWS_PER_SECOND = 4
BAR_CELLS = 20
_LESS_WANTED = re.compile(r"(eta: .*?|time: \S+|data_time: \S+|memory: \d+)(  |$)")  # than the losses behind them
FREE_CELLS = 4  # at the end of a line, so that the ^C that a terminal echoes there does not begin a new one
_streams: list[tuple[Any, Any]] = []  # standard output and error while a bar is up


def wants_bar(stream: Any, environ: Mapping[str, str]) -> bool:
    """Whether ``stream`` is a terminal on which lines can be drawn anew, with somebody before it.

    Not a pipe, a file, a notebook, a terminal that cannot go back (TERM=dumb), nor the log of a CI service (CI), where
    every redraw would be a line. TTY_INTERACTIVE=1 or 0 settles it; TTY_COMPATIBLE=0 says no as well.
    """
    wish = environ.get("TTY_INTERACTIVE")
    if wish in ("0", "1"):
        return wish == "1"
    if environ.get("TTY_COMPATIBLE") == "0" or environ.get("TERM", "") in ("dumb", "unknown"):
        return False
    if environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    return stream is not None and bool(stream.isatty())


class _LatestLine(logging.Filter):
    """Keeps lines that the bar shows itself off the console while it is up, and remembers the newest values for it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop lines that the bar shows itself."""
        line = record.msg if isinstance(record.msg, str) else ""
        if line.startswith(("Epoch(train)", "Iter(train)")):
            self.text = _LESS_WANTED.sub("", line.partition("]  ")[2]).strip()
            return False
        return not getattr(record, "progress", False)


class _View:
    """The lines of the bar, made from the clock and the timer when they are drawn: an iteration pays nothing."""

    def __init__(self, runner: Any, latest: _LatestLine) -> None:
        self._runner = runner
        self._latest = latest
        self._timer = next((hook for hook in runner.hooks if isinstance(hook, IterTimerHook)), None)
        self._began = monotonic()

    def line(self) -> str:
        """How far training is, then the newest values, or how far the validation is that runs inside.

        One line, always: what others write past the bar (a forked process does) cannot get between its parts.
        """
        runner, clock, timer = self._runner, self._runner.ctx.clock, self._timer
        done = clock.as_completed().iter
        parts = [_place(clock), _bar(done, clock.max_iters), f"{done}/{clock.max_iters or '?'}"]
        parts.append(_clock_text(monotonic() - self._began))
        remaining = None if timer is None else timer.remaining_s(runner)
        parts.append("" if remaining is None else f"eta {_clock_text(remaining)}")
        parts.append(self._validation() if Phase.VAL in runner.ctx.open_phases else self._latest.text)
        return "  ".join(part for part in parts if part)

    def _validation(self) -> str:
        if self._timer is None:
            return "validation"
        done, planned, remaining = self._timer.validation(self._runner)
        left = "" if remaining is None else f"  eta {_clock_text(remaining)}"
        return f"validation {done}/{planned or '?'}{left}"

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        text = Text(self.line(), no_wrap=True, overflow="ellipsis", end="")
        text.highlight_regex("━+", "green")
        text.truncate(max(options.max_width - FREE_CELLS, 1), overflow="ellipsis")
        yield text


class _PastTheBar:
    """A stream of a forked process: it wipes the bar away, which its parent draws anew, before each line."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._begins_line = True

    def write(self, text: str) -> int:
        if text:
            self._stream.write(f"\r\x1b[2K{text}" if self._begins_line else text)
            self._begins_line = text.endswith("\n")
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def live_progress(runner: Any) -> Iterator[None]:
    """Show a bar while training when standard error is a terminal and this is rank 0.

    It is drawn four times a second by a thread that reads the clock. What is written to the terminal meanwhile comes
    above it; when it ends, by whatever, it is wiped away.
    """
    if runner.rank != 0 or _streams or not wants_bar(sys.stderr, os.environ):
        yield
        return
    from rich.console import Console
    from rich.live import Live

    class OpenConsole(Console):
        def show_cursor(self, show: bool = True) -> bool:
            """Leave the cursor as it is: a process that is killed could not bring it back."""
            return False

    latest = _LatestLine()
    live = Live(
        _View(runner, latest),
        # soft_wrap: the terminal breaks a long line, so that a copy of it is still one line
        console=OpenConsole(stderr=True, force_terminal=True, force_jupyter=False, soft_wrap=True, highlight=False),
        refresh_per_second=REDRAWS_PER_SECOND,
        transient=True,
        redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),  # what goes into a file still goes there
        vertical_overflow="crop",
    )
    consoles = [h for h in runner.logger.handlers if not isinstance(h, logging.FileHandler)]
    _mend_forks()
    _streams.append((sys.stdout, sys.stderr))
    for handler in consoles:
        handler.addFilter(latest)
    try:
        with live:
            yield
    finally:
        for handler in consoles:
            handler.removeFilter(latest)
        _streams.clear()


def _mend_forks() -> None:
    """See to it that a process that is forked while a bar is up, as workers of loaders are, writes to the real streams:
    its copy of the bar's lock may be held by a thread that it does not have."""
    global _mends_forks
    if not _mends_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_real_streams)
        _mends_forks = True


_mends_forks = False


def _real_streams() -> None:
    if _streams:
        out, error = _streams[0]
        sys.stderr = _PastTheBar(error)
        sys.stdout = _PastTheBar(out) if out is not None and out.isatty() else out


def _place(clock: Any) -> str:
    if clock.max_epochs in (None, 1):
        return "train"
    return f"epoch {min(clock.epoch + 1, clock.max_epochs)}/{clock.max_epochs}"


def _bar(done: int, planned: int | None) -> str:
    if not planned:
        return ""
    cells = min(BAR_CELLS * done // planned, BAR_CELLS)
    return "━" * cells + "─" * (BAR_CELLS - cells)


def _clock_text(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
