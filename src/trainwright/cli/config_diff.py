"""``trainwright config diff``."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from trainwright.base.errors import ConfigError, ConfigNotFoundError
from trainwright.cli.terminal import echo_json, echo_styled
from trainwright.config import Config
from trainwright.config.diff import Change, diff, render_lines

_STYLES = {"-": "red", "+": "green", " ": "bold"}


def diff_configs(first: str, second: str, as_json: bool) -> int:
    """Write the differences; the exit code."""
    try:
        trees = [read_comparable(path)._to_lazy_dict() for path in (first, second)]
    except ConfigError as error:
        if as_json:
            echo_json({"error": str(error)})
        else:
            typer.secho(f"error: {error}", err=True, fg="red")
        return 2
    changes = diff(*trees)
    if as_json:
        echo_json({"equal": not changes, "changes": [_as_dict(change) for change in changes]})
    elif changes:
        echo_styled([(f"--- {first}\n", "red bold"), (f"+++ {second}", "green bold")])
        for line in render_lines(changes):
            echo_styled([(f"{line.mark} {line.text}".rstrip(), _STYLES[line.mark])])
        echo_styled([(_summary(changes), "dim")])
    else:
        typer.echo("no difference")
    return 1 if changes else 0


def read_comparable(target: str) -> Config:
    """A config file, or the newest config that a run dumped in the work dir ``target``."""
    if not os.path.isdir(target):
        return Config.fromfile(target, import_custom_modules=False)
    dumped = sorted(Path(target).glob("*/vis_data/config.py"), key=lambda file: file.parent.parent.name)
    beside = Path(target) / "vis_data" / "config.py"  # the folder of one run of several
    if not dumped and beside.is_file():
        dumped = [beside]
    if not dumped:
        raise ConfigNotFoundError(
            f"{target!r} is a folder without a dumped config: looked for {os.path.join('*', 'vis_data', 'config.py')} "
            "in it. Name a config file, or the work_dir of a run."
        )
    return Config.fromfile(dumped[-1], import_custom_modules=False)


def _summary(changes: list[Change]) -> str:
    counts = {kind: sum(change.kind == kind for change in changes) for kind in ("changed", "added", "removed")}
    return ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)


def _as_dict(change: Change) -> dict[str, object]:
    values = {name: getattr(change, name) for name in ("old", "new")}
    values.pop({"added": "old", "removed": "new"}.get(change.kind, ""), None)
    return {"path": list(change.path), "key": ".".join(map(str, change.path)), "kind": change.kind, **values}
