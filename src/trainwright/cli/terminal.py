"""Text for people and for pipes: colours on a terminal, the same characters without them everywhere else."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from trainwright.base.lazy import LazyObject

_MAX_BITS = 2000  # most programs refuse numbers of thousands of digits, Python's own reader of JSON among them


def has_colours() -> bool:
    """Whether standard output is a terminal that shows colours and whose user wants them (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def echo_python(text: str) -> None:
    """Write Python text, highlighted on a terminal."""
    if not has_colours():
        typer.echo(text, nl=False)
        return
    from rich.syntax import Syntax

    coloured = Syntax("", "python", theme="ansi_dark", background_color="default").highlight(text.rstrip("\n"))
    _print(coloured)


def echo_styled(parts: Iterable[tuple[str, str]]) -> None:
    """Write a line that is made of pieces: (text, the style it has on a terminal)."""
    pieces = list(parts)
    if not has_colours():
        typer.echo("".join(text for text, _ in pieces))
        return
    from rich.text import Text

    _print(Text.assemble(*pieces))


def echo_json(value: Any) -> None:
    """Write `value` as JSON that any parser reads."""
    plain = as_json(value)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        text = json.dumps(plain, indent=2, allow_nan=False)
    typer.echo(text)


def as_json(value: Any) -> Any:
    """`value` in JSON's types. A number that JSON lacks becomes a string, a class its dotted name, a set a list."""
    if value is None or isinstance(value, (bool, str)):
        return str.__str__(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if value.bit_length() < _MAX_BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {_json_key(key): as_json(item) for key, item in dict.items(value)}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((as_json(item) for item in value), key=repr)
    return _named(value)


def short_path(path: str) -> str:
    """`path` from the current folder when it lies below it, else as it is."""
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path


def _json_key(key: Any) -> str:
    return key if isinstance(key, str) else str(as_json(key))


def _named(value: Any) -> str:
    from trainwright.config.writing import dotted_name

    if isinstance(value, LazyObject):
        return value.dotted
    return dotted_name(value) if callable(value) else repr(value)


def _print(text: Any) -> None:
    from rich.console import Console

    # soft_wrap: the terminal breaks a long line, so that a copy of it is still one line
    Console(force_terminal=True, highlight=False).print(text, soft_wrap=True)
