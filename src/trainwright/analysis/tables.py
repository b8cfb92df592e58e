"""Sizes and tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# From what on a number is written in which unit; the step to the next unit comes a tenth before it.
_UNITS = ((1e14, 1e15, "P"), (1e11, 1e12, "T"), (1e8, 1e9, "G"), (1e5, 1e6, "M"), (1e2, 1e3, "K"))


def format_size(x: float, sig_figs: int = 3, hide_zero: bool = False) -> str:
    """A number with a unit (K, M, G, T, P) and at most `sig_figs` digits after the point.

    Zero is the empty text with `hide_zero`.
    """
    if hide_zero and x == 0:
        return ""
    for above, unit, sign in _UNITS:
        if abs(x) > above:
            return f"{x / unit:.{sig_figs}f}".rstrip("0").rstrip(".") + sign
    return str(x)


def rounded_size(x: int) -> str:
    """A number of parameters in thousands, millions or billions, with one digit after the point."""
    for above, unit, sign in _UNITS[2:]:
        if x > above:
            return f"{x / unit:.1f}{sign}"
    return str(x)


def plain_table(header: Iterable[str], rows: Iterable[Sequence[str]], title: str | None = None) -> str:
    """A table of characters that every terminal has, as wide as the terminal at most: what is longer is wrapped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, box=box.ASCII2)
    for name in header:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    console = Console()
    with console.capture() as captured:
        console.print(table, end="")
    return captured.get()
