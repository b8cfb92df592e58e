"""``trainwright dry-run``: what a training step would cost on so many ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

from trainwright.base.errors import ConfigError
from trainwright.base.text import table
from trainwright.cli.ckpt_show import size_text
from trainwright.cli.settings import load
from trainwright.cli.terminal import echo_json

if TYPE_CHECKING:
    from trainwright.runner.dry_run import DryRun


def run_dry(
    config: str,
    world_size: int,
    strategy: str | None,
    input_shapes: Sequence[str],
    as_json: bool,
    cfg_options: Sequence[str],
) -> int:
    """Run it, write what came of it; 1 where the step could not be run."""
    cfg = load(config, None, "none", cfg_options)
    from trainwright.runner.dry_run import dry_run

    inputs = {}
    for text in input_shapes:
        name, equals, shape = text.partition("=")
        if not equals:
            raise ConfigError(f"--input-shape {text!r} is not understood: write NAME=SHAPE, as in inputs=3x224x224.")
        inputs[name] = shape
    found = dry_run(cfg, world_size, strategy, inputs)
    if as_json:
        echo_json(found.as_dict())
    else:
        typer.echo("\n".join(_lines(found)))
    return 1 if found.problem else 0


def _lines(found: DryRun) -> Iterator[str]:
    yield f"{found.strategy} on {found.world_size} rank(s), a batch of {found.batch} on each"
    yield f"{found.n_params:,} parameters, {found.n_trainable:,} of them trained"
    parts = ("parameters", "buffers", "gradients", "optimizer", "activations", "peak")
    rows = [(name, _size(getattr(found, name))) for name in parts]
    yield f"\n{table(rows, ('memory of a rank', 'bytes'))}"
    weights, everything = size_text(found.checkpoint_weights), size_text(found.checkpoint_all)
    yield f"\nCheckpoint: {weights} of weights, {everything} with the state of the optimizer"
    if found.traffic:
        columns = ("kind", "group_size", "n_calls")
        sizes = ("n_bytes", "n_sent_bytes")
        rows_of_traffic = [
            (*(one[name] for name in columns), *(size_text(one[name]) for name in sizes)) for one in found.traffic
        ]
        header = ("collective of a step", "ranks", "calls", "tensors", "sent by a rank")
        yield f"\n{table(rows_of_traffic, header)}"
    elif found.traffic is not None:
        yield "\nNothing is sent between ranks."
    yield from (f"Note: {note}." for note in found.notes)
    if found.problem:
        yield f"\nNot complete: {found.problem}."


def _size(n_bytes: int | None) -> str:
    return "not known" if n_bytes is None else f"{size_text(n_bytes)} ({n_bytes:,})"
