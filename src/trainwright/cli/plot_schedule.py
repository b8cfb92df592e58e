"""``trainwright plot-schedule``: the values that a training would have, seen before it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from trainwright.base.errors import ConfigError, MissingExtraError
from trainwright.base.text import table
from trainwright.cli.settings import load
from trainwright.cli.terminal import echo_json

_WIDTH = 48
_MAX_VALUES = 10_000


def plot_schedule(
    config: str, output: str | None, as_json: bool, epoch_length: int | None, cfg_options: Sequence[str]
) -> None:
    """A table with a small drawing of each curve, or JSON; and a picture."""
    if epoch_length is not None and epoch_length < 1:
        raise ConfigError(f"--epoch-length must be at least 1, got {epoch_length}: the iterations of an epoch")
    cfg = load(config, None, "none", cfg_options)
    from trainwright.runner.schedule_plan import plan_schedules

    plan = plan_schedules(cfg, epoch_length)
    if as_json:
        echo_json(_as_dict(plan))
    else:
        typer.echo("\n".join(_summary(plan)))
    if output is None and as_json:
        return
    try:
        path = _draw(plan, output or f"{Path(config).stem}_schedule.png", Path(config).stem)
    except MissingExtraError as error:
        if output is not None:
            raise
        typer.echo(f"No picture: {error}")
        return
    if not as_json:
        typer.echo(f"Picture: {path}")


def _summary(plan: Any) -> list[str]:
    rows = []
    for curve, label in zip(plan.curves, _labels(plan), strict=True):
        values = curve.values
        high, low = max(values), min(values)
        cells = (f"{values[0]:.4g}", f"{high:.4g} at {values.index(high)}", f"{low:.4g} at {values.index(low)}")
        rows.append((label, *cells, f"{values[-1]:.4g}", sparkline(values)))
    length = f"{plan.n_steps} {plan.unit}s"
    if plan.epoch_length and plan.unit == "iteration":
        length += f", {plan.n_steps // plan.epoch_length} epochs of {plan.epoch_length}"
    lines = [f"Training of {length}.", "", table(rows, ("value", "first", "highest", "lowest", "last", "")), ""]
    return lines + [f"- {note}" for note in dict.fromkeys(plan.notes)] + [""] * bool(plan.notes)


def _labels(plan: Any) -> list[str]:
    labels = [curve.label for curve in plan.curves]
    named = []
    for curve, label in zip(plan.curves, labels, strict=True):
        if labels.count(label) > 1:
            n_groups = len(curve.groups)
            which = f"group {curve.groups[0]}" if n_groups == 1 else f"{n_groups} groups, first {curve.groups[0]}"
            label = f"{label} ({which}; {curve.n_parameters:,} parameters)"
        named.append(label)
    return named


def _draw(plan: Any, output: str, name: str) -> Path:
    from trainwright.visualization.plans import draw_values

    panels: dict[str, dict[str, list[float]]] = {}
    for curve, label in zip(plan.curves, _labels(plan), strict=True):
        panels.setdefault(curve.name, {})[label] = curve.values
    return draw_values(panels, output, title=f"{name}: schedule", unit=plan.unit, epoch_length=plan.epoch_length)


def _as_dict(plan: Any) -> dict[str, Any]:
    every = math.ceil(plan.n_steps / _MAX_VALUES)
    steps = list(range(0, plan.n_steps, every))
    curves = [
        {
            "name": curve.name,
            "optimizer": curve.optimizer,
            "groups": curve.groups,
            "n_parameters": curve.n_parameters,
            "values": [curve.values[step] for step in steps],
        }
        for curve in plan.curves
    ]
    keys = {"unit": plan.unit, "n_steps": plan.n_steps, "epoch_length": plan.epoch_length, "every": every}
    return {**keys, "curves": curves, "notes": plan.notes}


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """The values as a row of blocks from their lowest (0, if that is lower) to their highest."""
    blocks = "▁▂▃▄▅▆▇█"
    try:
        blocks.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        blocks = "_.-=+*#@"
    n_cells = min(width, len(values))
    cells = [values[round(cell * (len(values) - 1) / max(1, n_cells - 1))] for cell in range(n_cells)]
    low, high = min(0.0, *cells, 0.0), max(cells)
    scale = (len(blocks) - 1) / (high - low) if high > low and math.isfinite(high) else 0.0
    return "".join(blocks[min(len(blocks) - 1, int((cell - low) * scale + 0.5))] for cell in cells)
