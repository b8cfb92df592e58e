"""The table of strategies and behaviours, as Markdown: what is declared, or what is found by asking."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import typer

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.testing.conformance.behaviour import Behaviour
from trainwright.testing.conformance.columns import COLUMNS, Column
from trainwright.testing.conformance.suite import ask, chosen

YES, NO, NEW, NOT_ASKED, NOT_THERE = "yes", "**no**", "**yes**", "-", "?"
BEGIN, END = "<!-- the table begins -->", "<!-- the table ends -->"
Cell = Callable[[Column, Behaviour], str]


def declared(column: Column, behaviour: Behaviour) -> str:
    """What the cell says when every promise is kept and every gap is one."""
    if not behaviour.applies_to(column.n_ranks, column.n_data_ranks or column.n_ranks):
        return NOT_ASKED
    return "no" if behaviour.name in column.gaps else YES


def found(column: Column, behaviour: Behaviour) -> str:
    """What the cell says when the strategy is asked; what is not as declared is bold, and shown on stderr."""
    wanted = declared(column, behaviour)
    if wanted == NOT_ASKED or not column.can_be_asked:
        return NOT_ASKED if wanted == NOT_ASKED else NOT_THERE
    with tempfile.TemporaryDirectory() as folder:
        try:
            ask(column.subject(Path(folder)), behaviour.name)
        except Exception:  # noqa: BLE001 - whatever it is, the promise was not kept
            if wanted == YES:
                typer.echo(f"\n== {column.name}: {behaviour.name}\n{traceback.format_exc()}", err=True)
                return NO
            return wanted
    if wanted != YES:
        typer.echo(f"\n== {column.name}: {behaviour.name} is there, and declared as a gap", err=True)
    return YES if wanted == YES else NEW


def table(columns: Sequence[Column], behaviours: Sequence[Behaviour], cell: Cell = declared) -> Iterator[str]:
    """The lines of the table, and the reasons of the gaps below it."""
    yield f"| behaviour | {' | '.join(column.name for column in columns)} | what is promised |"
    yield f"|---|{'---|' * len(columns)}---|"
    for behaviour in behaviours:
        cells = " | ".join(cell(column, behaviour) for column in columns)
        yield f"| `{behaviour.name}` | {cells} | {behaviour.promise} |"
    names = {behaviour.name for behaviour in behaviours}
    reasons = [
        f"| `{name}` | {column.name} | {reason} |"
        for column in columns
        for name, reason in column.gaps.items()
        if name in names
    ]
    if reasons:
        yield from ("", "| gap | strategy | reason |", "|---|---|---|", *reasons)


def put_into(page: str, lines: Sequence[str]) -> str:
    """The page with these lines in the place of its table."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    if not rest or END not in rest:
        raise ConfigError(f"there is no place for the table in the page: it has no {BEGIN!r} and {END!r}.")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def _columns(names: Sequence[str]) -> list[Column]:
    for name in names:
        if name not in COLUMNS:
            raise ConfigError(f"no strategy of the table is named {name!r}.{did_you_mean(name, COLUMNS)}")
    return [COLUMNS[name] for name in names] or list(COLUMNS.values())


def _command(
    strategy: list[str] = typer.Option([], help="A column, such as 'FSDP x2'; all by default."),  # noqa: B008
    behaviour: str = typer.Option("*", help="A pattern on the names of behaviours."),
    output: Path | None = typer.Option(None, help="A page whose table is replaced."),  # noqa: B008
) -> None:
    """Asks the strategies for their behaviours, and prints the table. What is not as declared is bold, and makes the
    exit code 1; its error goes to stderr."""
    cells: list[str] = []

    def asked(column: Column, one: Behaviour) -> str:
        cells.append(found(column, one))
        return cells[-1]

    lines = list(table(_columns(strategy), chosen(behaviour), asked))
    typer.echo("\n".join(lines))
    if output is not None:
        output.write_text(put_into(output.read_text(encoding="utf-8"), lines), encoding="utf-8")
    if NO in cells or NEW in cells:
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """``python -m trainwright.testing.conformance``."""
    import torch

    torch.set_num_threads(1)  # as the ranks
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(_command)
    app(arguments)
