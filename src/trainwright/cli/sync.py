"""``trainwright sync``: what a run has written, replayed into a tracker."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from trainwright.cli.terminal import echo_json
from trainwright.config import parse_options


def sync(run: str, to: str, options: Sequence[str], as_json: bool) -> None:
    """Send what is new of ``run`` to the tracker ``to`` and say what was sent."""
    from trainwright.visualization.sync import sync_run

    done = sync_run(run, to, parse_options(options))
    if as_json:
        echo_json(vars(done))
        return
    parts = [f"{done.n_lines} lines of scalars", f"{done.n_pictures} pictures"]
    parts += ["the config"] if done.has_config else []
    where = ", ".join(f"{name} {value}" for name, value in done.state.items())
    typer.echo(f"{done.tracker}: {done.how}{f' ({where})' if where else ''}: {', '.join(parts)}")
    for note in done.notes:
        typer.echo(f"- {note}")
