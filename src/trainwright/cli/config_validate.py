"""``trainwright config validate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from trainwright.base.errors import TrainwrightError
from trainwright.cli.config_show import as_dict
from trainwright.cli.settings import load
from trainwright.cli.terminal import echo_json, echo_styled

if TYPE_CHECKING:
    from trainwright.runner.check import Problem

_STYLES = {"error": "red bold", "warning": "yellow bold"}


def validate_config(config: str, cfg_options: Sequence[str], as_json: bool) -> int:
    """Write the problems of a config, errors first; the exit code. What ``custom_imports`` names is imported."""
    try:
        cfg = load(config, None, "none", cfg_options)
        from trainwright.runner.check import validate

        problems = sorted(validate(cfg), key=lambda problem: problem.level != "error")
    except TrainwrightError as error:
        if not as_json:
            raise
        echo_json({"valid": False, "problems": [_unreadable(error)]})
        return 1
    n_errors = sum(problem.level == "error" for problem in problems)
    if as_json:
        echo_json({"valid": not n_errors, "problems": [_as_dict(problem) for problem in problems]})
        return 1 if n_errors else 0
    for problem in problems:
        _echo(problem)
    _echo_total(config, n_errors, len(problems) - n_errors)
    return 1 if n_errors else 0


def _echo(problem: Problem) -> None:
    where = [(f"{problem.origin}: ", "cyan")] if problem.origin else []
    key = [(f"{problem.key}: ", "bold")] if problem.where else []
    first, *rest = problem.message.split("\n")
    echo_styled([*where, (problem.level, _STYLES[problem.level]), (": ", ""), *key, (first, "")])
    for line in rest:
        typer.echo(f"    {line}")


def _echo_total(config: str, n_errors: int, n_warnings: int) -> None:
    counts = [_counted(n_errors, "error"), _counted(n_warnings, "warning")]
    found = ", ".join(count for count in counts if count)
    style = "red" if n_errors else "yellow" if n_warnings else "green"
    echo_styled([(f"{config}: {found or 'no problems'}", style)])


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}" if n else ""


def _as_dict(problem: Problem) -> dict[str, Any]:
    return {
        "level": problem.level,
        "key": problem.key,
        "path": list(problem.where),
        "message": problem.message,
        "origin": as_dict(problem.origin),
    }


def _unreadable(error: TrainwrightError) -> dict[str, Any]:
    """A problem in the place of an error that came while reading."""
    file, line = getattr(error, "filename", None), getattr(error, "lineno", None)
    label = None if file is None else file if line is None else f"{file}:{line}"
    origin = None if file is None else {"file": file, "line": line, "kind": "file", "label": label}
    message = "\n".join([str(error), *getattr(error, "__notes__", [])])
    return {"level": "error", "key": "", "path": [], "message": message, "origin": origin}
