"""``trainwright config migrate``."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import typer

from trainwright.base.errors import ConfigError
from trainwright.cli.terminal import echo_json, echo_python
from trainwright.config import Config
from trainwright.config.migration import Migration, Note, migrate

_WIDTH = 100


def migrate_config(old: str, output: str | None, as_json: bool) -> None:
    """Write the migrated config to ``output`` or standard output, and the notes to standard error."""
    if output is not None and os.path.realpath(output) == os.path.realpath(old):
        raise ConfigError(f"{output!r} is the old config itself; name another file for the new one")
    if output is not None and not output.endswith(".py"):
        raise ConfigError(f"the new config is Python text, so its name must end in .py, got {output!r}")
    try:
        migration = migrate(Config.fromfile(old, import_custom_modules=False)._to_lazy_dict())
    except ConfigError as error:
        if str(error).startswith(old) or error.filename is not None:
            raise
        raise ConfigError(str(error), old) from error
    text = _text(migration, old)
    if output is not None:
        Path(output).write_text(text, encoding="utf-8")
    if as_json:
        notes = [note._asdict() for note in migration.notes]
        echo_json({"changed": migration.changed, "config": migration.tree, "notes": notes})
    elif output is None:
        echo_python(text)
    _report(migration, old, output, as_json)


def _text(migration: Migration, old: str) -> str:
    """The config, with the notes as comments above it."""
    body = Config(migration.tree).pretty_text
    if not migration.changed:
        return body
    head = f"# Migrated from {os.path.basename(old)}, written for MMCV 1.x.\n"
    if migration.notes:
        head += "#\n# Look at these, which are not carried over exactly:\n"
    return head + "".join(_comment(note) for note in migration.notes) + "\n" + body


def _comment(note: Note) -> str:
    text = str(note).replace("{{", "{ {")  # the reader substitutes these, also in a comment
    return textwrap.fill(text, _WIDTH, initial_indent="# - ", subsequent_indent="#   ", break_on_hyphens=False) + "\n"


def _report(migration: Migration, old: str, output: str | None, as_json: bool) -> None:
    if not migration.changed:
        typer.echo(f"{old} has today's form already; nothing was changed", err=True)
        return
    if not as_json:
        for note in migration.notes:
            typer.secho(f"{note.key}: ", err=True, fg="yellow", nl=False)
            typer.echo(f"{note.why} {note.todo}".rstrip(), err=True)
    n = len(migration.notes)
    told = f"{n} setting{'s are' if n != 1 else ' is'} not carried over exactly" if n else "everything is carried over"
    typer.echo(told + (f"; written to {output}" if output else ""), err=True)
    if output is not None:
        typer.echo(f"To check it:  trainwright config validate {output}", err=True)
