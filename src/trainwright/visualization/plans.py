"""Pictures of what is to come: scheduled values, and the loss over learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainwright.base.optional import require
from trainwright.visualization.curves import COLOURS

_MAX_POINTS = 4000
_MAX_MARKS = 40


def draw_values(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    out_png: str | Path,
    *,
    title: str,
    unit: str,
    epoch_length: int | None = None,
) -> Path:
    """One panel a name, one line a label, a value for each ``unit``; epochs are marked by lines. Needs matplotlib."""
    figure, rows = _figure(len(panels), 2.9, "drawing schedules")
    n_steps = 0
    for (name, lines), axes in zip(panels.items(), rows, strict=True):
        for index, (label, values) in enumerate(lines.items()):
            n_steps = max(n_steps, len(values))
            x = _thinned(values)
            style = "steps-post" if len(values) <= 50 else "default"
            axes.plot(
                x,
                [values[at] for at in x],
                color=COLOURS[index % len(COLOURS)],
                linewidth=1.7,
                label=label,
                drawstyle=style,
            )
        axes.set_ylabel("learning rate" if name == "lr" else name)
        axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9)
    if epoch_length and epoch_length > 1:
        every = math.ceil(n_steps / epoch_length / _MAX_MARKS)
        for axes in rows:
            for at in range(epoch_length * every, n_steps, epoch_length * every):
                axes.axvline(at, color="0.85", linewidth=0.8, zorder=0)
        rows[-1].set_xlabel(f"{unit} (a grey line every {every} epoch{'s' if every > 1 else ''})")
    else:
        rows[-1].set_xlabel(unit)
    return _saved(figure, title, out_png)


def draw_range_test(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
    out_png: str | Path,
    *,
    title: str,
) -> Path:
    """Loss over learning rate, logarithmic, with the suggested rates marked. Needs matplotlib."""
    figure, (axes,) = _figure(1, 4.2, "drawing the learning-rate test")
    axes.plot(rates, losses, color=COLOURS[0], linewidth=0.8, alpha=0.35, label="loss")
    axes.plot(rates, smoothed, color=COLOURS[0], linewidth=1.9, label="smoothed")
    for index, (name, rate) in enumerate(marks.items(), 1):
        axes.axvline(rate, color=COLOURS[index], linewidth=1.4, linestyle="--", label=f"{name}: {rate:.2e}")
    axes.set_xscale("log")
    low, first = min(smoothed), smoothed[0]
    axes.set_ylim(low - 0.08 * abs(first - low) - 1e-12, first + 0.6 * abs(first - low) + 1e-12)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, fontsize=9)
    return _saved(figure, title, out_png)


def _figure(n_rows: int, height: float, why: str) -> tuple[Any, list[Any]]:
    require("matplotlib", "vis", why)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, n_rows * height + 0.9), dpi=130, layout="constrained")
    rows = [axes for (axes,) in figure.subplots(n_rows, 1, sharex=True, squeeze=False)]
    for axes in rows:
        axes.grid(axis="y", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, rows


def _saved(figure: Any, title: str, out_png: str | Path) -> Path:
    figure.suptitle(title, fontsize=13, fontweight="bold")
    out = Path(out_png)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out


def _thinned(values: Sequence[float]) -> list[int]:
    """Positions to draw: all, or evenly spaced ones with those where the value turns or jumps."""
    n_values = len(values)
    if n_values <= _MAX_POINTS:
        return list(range(n_values))
    every = n_values / _MAX_POINTS
    kept = {int(at * every) for at in range(_MAX_POINTS)} | {n_values - 1}
    span = max(values) - min(values)
    for at in range(1, n_values):
        if abs(values[at] - values[at - 1]) > 0.02 * span:
            kept |= {at - 1, at}
    return sorted(kept)
