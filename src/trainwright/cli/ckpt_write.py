"""``trainwright ckpt convert | publish | average``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import typer

from trainwright.base.errors import CheckpointError


def convert_checkpoint(path: str, output: str, to: str | None, force: bool, trusted: bool) -> None:
    """Write a checkpoint in another layout."""
    from trainwright.checkpoint.convert import layout_for, write_as
    from trainwright.checkpoint.kinds import read_checkpoint

    layout = layout_for(output, to)
    tree = read_checkpoint(path, trusted=trusted)
    lost = write_as(layout, output, tree, force)
    typer.echo(f"wrote {output} ({layout})")
    if lost:
        more = f" and {len(lost) - 12} more" if len(lost) > 12 else ""
        typer.echo(f"left out, because a {layout} file holds weights only: {', '.join(lost[:12])}{more}")


def publish_checkpoint(path: str, keys: Sequence[str], output: str | None, trusted: bool) -> None:
    """Write the wished parts under a name with their checksum."""
    from trainwright.checkpoint.kinds import read_checkpoint
    from trainwright.checkpoint.published import publish_keys

    tree = read_checkpoint(path, trusted=trusted)
    target = Path(output or path)
    if not target.parent.is_dir():
        raise CheckpointError(f"the folder {str(target.parent)!r} does not exist: make it first.")
    before = set(os.listdir(target.parent))
    done = publish_keys(target, tree, keys)
    known = ", which was there already with the same content" if Path(done.path).name in before else ""
    typer.echo(f"wrote {done.path}{known}")
    if done.left_out:
        typer.echo(f"left out: {', '.join(done.left_out)}")
    if done.missing:
        typer.echo(f"not in the checkpoint: {', '.join(done.missing)}")


def average_checkpoints(
    paths: Sequence[str], output: str, how: tuple[Sequence[float] | None, str | None], force: bool, trusted: bool
) -> None:
    """Write the mean of the weights; ``how`` is (weight of each checkpoint, the part to average)."""
    from trainwright.checkpoint.average import averaged
    from trainwright.checkpoint.convert import layout_for, write_as

    layout = layout_for(output)
    weights, key = how
    state = averaged(paths, weights or None, key, trusted)
    meta = {"averaged": [Path(path).name for path in paths], "weights": list(weights or []), "key": key or ""}
    write_as(layout, output, {"state_dict": state, "meta": meta}, force)
    typer.echo(f"wrote {output}: the mean of {len(paths)} checkpoints, {len(state)} weights")
