"""``trainwright find-lr``: a learning rate to begin with, found by trying."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from trainwright.base.errors import MissingExtraError
from trainwright.cli.plot_schedule import sparkline
from trainwright.cli.settings import load
from trainwright.cli.terminal import echo_json

# What has nothing to do with the test, and would be made, or written to, for nothing.
_LEFT_OUT = ("custom_hooks", "default_hooks", "visualizer")
_EVALUATION = ("dataloader", "cfg", "evaluator")


def find_learning_rate(
    config: str, span: tuple[float, float, int], output: str | None, as_json: bool, cfg_options: Sequence[str]
) -> None:
    """Run the test in a folder that is gone afterwards; draw the curve, say the rates."""
    cfg = load(config, None, "none", cfg_options)
    from trainwright.runner import Runner
    from trainwright.runner.lr_finder import find_lr

    for name in (*_LEFT_OUT, *(f"{part}_{kind}" for part in ("val", "test") for kind in _EVALUATION)):
        cfg.pop(name, None)
    cfg.log_level = "WARNING"
    start, end, iters = span
    with tempfile.TemporaryDirectory(prefix="trainwright_find_lr_") as folder:
        cfg.work_dir = folder
        found = find_lr(Runner.from_cfg(cfg), start, end, iters)
    path, why_not = _draw(found, output, config, as_json)
    if as_json:
        names = ("rates", "losses", "smoothed", "suggestion", "steepest", "tenth", "ran_away")
        echo_json({**{name: getattr(found, name) for name in names}, "picture": None if path is None else str(path)})
        return
    typer.echo("\n".join(_summary(found)))
    typer.echo(f"Picture: {path}" if path is not None else f"No picture: {why_not}")


def _draw(found: Any, output: str | None, config: str, as_json: bool) -> tuple[Path | None, str]:
    from trainwright.visualization.plans import draw_range_test

    if output is None and as_json:
        return None, ""
    stem = Path(config).stem
    marks = {"steepest": found.steepest, "lowest / 10": found.tenth}
    known = {name: rate for name, rate in marks.items() if rate is not None}
    try:
        picture = output or f"{stem}_find_lr.png"
        return draw_range_test(found.rates, found.losses, found.smoothed, known, picture, title=f"{stem}: lr test"), ""
    except MissingExtraError as error:
        if output is not None:
            raise
        return None, str(error)


def _summary(found: Any) -> list[str]:
    n_steps = len(found.rates)
    lines = [
        f"{n_steps} steps, learning rate {found.rates[0]:.2e} to {found.rates[-1]:.2e}"
        + (" (then the loss ran away)." if found.ran_away else "."),
        f"loss {found.smoothed[0]:.4g}  {sparkline(found.smoothed)}  {found.smoothed[-1]:.4g}, lowest "
        f"{min(found.smoothed):.4g}",
    ]
    if found.suggestion is None:
        return [*lines, "The loss never fell: no rate to suggest. Try --end higher, or more --iters."]
    return [
        *lines,
        f"Suggested learning rate: {found.suggestion:.2e} (steepest fall); a tenth of the rate at the lowest loss: "
        f"{found.tenth:.2e}.",
    ]
