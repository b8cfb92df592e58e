"""The curves of a run, drawn from its scalar file: losses, learning rate and validation metrics over iterations."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainwright.base.optional import require
from trainwright.visualization.scalars import BOOKKEEPING, is_rate, read_scalars

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Eight hues that stay apart for colour-blind readers and in grey print (Okabe and Ito, 2008); black comes last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000")
LESS_IS_BETTER = re.compile(r"loss|err|bits|bpb|bpc|perplexity|ppl|mae|mse|rmse|nll|entropy|distance|fid|wer|cer", re.I)
MANY_POINTS = 150
FLAT = 50


@dataclass
class Series:
    """One curve: iterations and values of the same length."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        """Append a point."""
        self.x.append(x)
        self.y.append(y)

    def best(self, less: bool) -> tuple[float, float] | None:
        """(iteration, value) of the lowest or the highest finite value, the first of equals."""
        finite = [(x, y) for x, y in zip(self.x, self.y, strict=True) if math.isfinite(y)]
        return (min if less else max)(finite, key=lambda point: point[1]) if finite else None


@dataclass
class Curves:
    """What a scalar file holds, sorted into the three panels; names are those of the file."""

    losses: dict[str, Series] = field(default_factory=dict)
    val_losses: dict[str, Series] = field(default_factory=dict)
    rates: dict[str, Series] = field(default_factory=dict)
    metrics: dict[str, Series] = field(default_factory=dict)
    resumed_at: list[float] = field(default_factory=list)


def read_curves(scalars: str | Path | Iterable[str | Path]) -> Curves:
    """Read one scalar file, or those of a run and its resumptions in order (``read_scalars`` says what counts)."""
    found = read_scalars(scalars)
    curves = Curves(resumed_at=[float(at) for at in found.resumed_at])
    for line in found.lines:
        for name, value in line.numbers().items():
            group = _group(curves, name, line.is_train)
            if group is not None and not isinstance(value, bool):
                group.setdefault(name, Series()).add(float(line.iteration), float(value))
    return curves


def _group(curves: Curves, name: str, is_train: bool) -> dict[str, Series] | None:
    if is_train:
        return curves.rates if is_rate(name) else curves.losses if "loss" in name else None
    if name in BOOKKEEPING or name.endswith(("/time", "/data_time")):
        return None
    return curves.val_losses if "loss" in name else curves.metrics


def draw_curves(
    scalars: str | Path | Iterable[str | Path], out_png: str | Path, *, title: str | None = None
) -> Path | None:
    """Draw a run as up to three panels over one iteration axis: losses, learning rate, validation metrics.

    Dashed lines stand where the run was resumed. A panel without data is left out. Returns the path of the picture;
    None, and no file, when there is nothing to draw. ``title`` is the name of the run's folder when not given. Needs
    matplotlib (extra ``vis``).
    """
    files = [Path(scalars)] if isinstance(scalars, (str, Path)) else [Path(file) for file in scalars]
    curves = read_curves(files)
    painters = [
        (draw, height)
        for draw, height, there in (
            (_draw_losses, 3.2, curves.losses or curves.val_losses),
            (_draw_rates, 1.7, curves.rates),
            (_draw_metrics, 2.8, curves.metrics),
        )
        if there
    ]
    if not painters:
        return None
    require("matplotlib", "vis", "drawing curves")
    from matplotlib.figure import Figure

    heights = [height for _, height in painters]
    figure = Figure(figsize=(8.5, sum(heights) + 0.9), dpi=130, layout="constrained")
    rows = figure.subplots(len(painters), 1, sharex=True, squeeze=False, height_ratios=heights)
    for (draw, _), (axes,) in zip(painters, rows, strict=True):
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, curves)
        _mark_resumes(axes, curves.resumed_at)
    _label_resumes(rows[0][0], curves.resumed_at)
    rows[-1][0].set_xlabel("iteration")
    rows[-1][0].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(_run_name(files[-1]) if title is None else title, fontsize=13, fontweight="bold")
    figure.align_ylabels()
    out = Path(out_png)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    return out


def _run_name(scalars: Path) -> str:
    """``digits`` for ``digits/20250101_120000/vis_data/scalars.json``."""
    folders = [
        part for part in scalars.absolute().parts[:-1] if part != "vis_data" and not re.fullmatch(r"\d{8}_\d{6}", part)
    ]
    return folders[-1] if folders else scalars.stem


def _draw_losses(axes: Axes, curves: Curves) -> None:
    losses = dict(curves.losses)
    total = losses.get("loss")
    for name in [name for name in losses if name != "loss"]:
        if total is not None and losses[name] == total:  # the only term: the total says it all
            del losses[name]
    shown = list(losses.items()) + list(curves.val_losses.items())
    for (name, series), colour in zip(shown, _colours(len(shown)), strict=True):
        of_val = any(series is other for other in curves.val_losses.values())
        width = 1.9 if name == "loss" and not of_val else 1.2
        label = f"{name} (validation)" if of_val and "/" not in name else name
        _draw_line(axes, series, colour, width, label=label, marked=of_val)
    values = [value for _, series in shown for value in series.y]
    _log_scale(axes, values)
    axes.set_ylabel("loss")
    if len(shown) > 1:
        _legend(axes)


def _draw_rates(axes: Axes, curves: Curves) -> None:
    rates = {name: series for name, series in curves.rates.items() if not name.endswith("base_lr")} or curves.rates
    for (name, series), colour in zip(rates.items(), _colours(len(rates)), strict=True):
        axes.plot(series.x, series.y, color=colour, linewidth=1.6, label=name, marker="o" if len(series.x) == 1 else "")
    values = [value for series in rates.values() for value in series.y]
    if not _log_scale(axes, values):
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
        axes.set_ylim(bottom=0)
    axes.set_ylabel("learning rate")
    if len(rates) > 1:
        _legend(axes)


def _draw_metrics(axes: Axes, curves: Curves) -> None:
    for (name, series), colour in zip(curves.metrics.items(), _colours(len(curves.metrics)), strict=True):
        best = series.best(less=bool(LESS_IS_BETTER.search(name)))
        label = name if best is None else f"{name}: best {best[1]:.4g} at iteration {best[0]:g}"
        axes.plot(series.x, series.y, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=label)
        if best is not None:
            axes.plot(*best, color=colour, marker="*", markersize=14, markeredgecolor="white", zorder=5, linestyle="")
    _log_scale(axes, [value for series in curves.metrics.values() for value in series.y])
    axes.set_ylabel(next(iter(curves.metrics)) if len(curves.metrics) == 1 else "validation")
    _legend(axes)


def _draw_line(axes: Axes, series: Series, colour: str, width: float, label: str, marked: bool) -> None:
    """One curve; a long one as a smooth line over its faint points."""
    if len(series.x) > MANY_POINTS and not marked:
        axes.plot(series.x, series.y, color=colour, linewidth=0.7, alpha=0.3)
        axes.plot(series.x, _smooth(series.y), color=colour, linewidth=width, label=label)
        return
    marker = "o" if marked or len(series.x) == 1 else ""
    axes.plot(series.x, series.y, color=colour, linewidth=width, label=label, marker=marker, markersize=3.5)


def _smooth(values: list[float], keep: float = 0.85) -> list[float]:
    """Exponential mean, corrected for its start; what is not finite is passed over."""
    mean, weight, out = 0.0, 0.0, []
    for value in values:
        if math.isfinite(value):
            mean, weight = keep * mean + (1 - keep) * value, keep * weight + 1 - keep
        out.append(mean / weight if weight else value)
    return out


def _log_scale(axes: Axes, values: list[float]) -> bool:
    """Use a logarithmic axis when on a linear one a quarter of the points would lie flat on the bottom, and none is
    negative. So a cosine that ends near zero stays a cosine, and a loss that falls by decades can be read."""
    finite = [value for value in values if math.isfinite(value)]
    positive = sorted(value for value in finite if value > 0)
    if not positive or min(finite) < 0 or positive[-1] <= FLAT * positive[len(positive) // 4]:
        return False
    axes.set_yscale("log", nonpositive="mask")
    return True


def _legend(axes: Axes) -> None:
    """Above the panel, where no data are."""
    labels = axes.get_legend_handles_labels()[1]
    columns = max(1, min(len(labels), 110 // (max(map(len, labels), default=0) + 8)))
    axes.legend(
        frameon=False, fontsize=9, ncols=columns, loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2
    )


def _mark_resumes(axes: Axes, resumed_at: list[float]) -> None:
    for at in resumed_at:
        axes.axvline(at, color="0.35", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1.5)


def _label_resumes(axes: Axes, resumed_at: list[float]) -> None:
    """Beside each line, where there is room for it."""
    low, high = axes.get_xlim()
    last = -math.inf
    for at in resumed_at:
        if at - last < 0.03 * (high - low):
            continue
        last = at
        is_far = at > low + 0.95 * (high - low)
        axes.annotate(
            f"resumed at {at:g}",
            (at, 0.97),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-3 if is_far else 3, 0),
            textcoords="offset points",
            rotation=90,
            horizontalalignment="right" if is_far else "left",
            verticalalignment="top",
            fontsize=8,
            color="0.25",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8},
        )


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]
