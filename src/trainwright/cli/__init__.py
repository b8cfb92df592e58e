"""The command ``trainwright``."""

from __future__ import annotations


def main() -> None:
    """Run the command line given to this process."""
    from trainwright.cli.app import run  # lazy: importing the package must not import typer

    run()


__all__ = ["main"]
