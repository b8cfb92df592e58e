"""A live progress bar on a terminal; elsewhere the log lines are enough."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _LatestLine(logging.Filter):
    """Keeps training lines off the console while the bar is up, and remembers the newest for it."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop lines that the bar shows itself."""
        if record.msg.__class__ is str and record.msg.startswith(("Epoch(train)", "Iter(train)", "Exp name:")):
            head, _, values = record.getMessage().partition("  ")
            self.text = values if head.startswith(("Epoch", "Iter")) else self.text
            return False
        return True


@contextmanager
def live_progress(runner: Any) -> Iterator[None]:
    """Show a bar while training when standard error is a terminal and this is rank 0.

    The bar is redrawn four times a second by a thread that reads the clock: an iteration pays nothing for it.
    """
    if not sys.stderr.isatty() or runner.rank != 0:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    clock, latest = runner.ctx.clock, _LatestLine()

    class ValuesColumn(ProgressColumn):
        max_refresh = 0.25

        def render(self, task: Any) -> Text:
            progress.update(task.id, completed=clock.iter, description=_place(clock))
            return Text(latest.text, style="dim", no_wrap=True, overflow="ellipsis")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        ValuesColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True), refresh_per_second=4, transient=True)
    progress.add_task(_place(clock), total=clock.max_iters, completed=clock.iter)
    consoles = [h for h in runner.logger.handlers if not isinstance(h, logging.FileHandler)]
    for handler in consoles:
        handler.addFilter(latest)
    try:
        with progress:
            yield
    finally:
        for handler in consoles:
            handler.removeFilter(latest)


def _place(clock: Any) -> str:
    return (
        "train"
        if clock.max_epochs in (None, 1)
        else f"epoch {min(clock.epoch + 1, clock.max_epochs)}/{clock.max_epochs}"
    )
