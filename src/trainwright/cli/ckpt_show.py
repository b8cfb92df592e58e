"""``trainwright ckpt inspect | verify | diff``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from trainwright.base.errors import CheckpointError
from trainwright.base.text import did_you_mean, table
from trainwright.cli.terminal import echo_json

_N_SHOWN = 20


def inspect_checkpoint(path: str, as_json: bool, trusted: bool) -> None:
    """Show what a checkpoint is and holds."""
    from trainwright.checkpoint.summary import summary

    found = summary(path, trusted)
    if as_json:
        echo_json(found)
        return
    size = found["bytes_on_disk"]
    rows = [
        ("kind", found["kind"]),
        ("size", size_text(size) if size is not None else "unknown"),
        *((name, value) for name, value in found["step"].items()),
        *((name, value) for name, value in found["facts"].items()),
        *((name, value) for name, value in found["versions"].items()),
        ("weights", f"{found['n_weights']:,} with {found['n_numbers']:,} numbers"),
        ("types", ", ".join(f"{name} ({n})" for name, n in found["dtypes"].items()) or "none"),
    ]
    if "world_size" in found:
        rows.append(("processes", found["world_size"]))
    typer.echo(f"{path}\n{table(rows)}")
    parts = [(name, part["n_tensors"], size_text(part["n_bytes"])) for name, part in found["parts"].items()]
    typer.echo(f"\n{table(parts[: 4 * _N_SHOWN], ('part', 'tensors', 'bytes'))}")
    if len(parts) > 4 * _N_SHOWN:
        typer.echo(f"and {len(parts) - 4 * _N_SHOWN} more")
    if found["metrics"]:
        metrics = [(name, f"{value:.6g}") for name, value in found["metrics"].items()]
        typer.echo(f"\n{table(metrics, ('metric', 'last value'))}")


def verify_checkpoints(paths: Sequence[str], as_json: bool, trusted: bool) -> int:
    """Check all of the paths; 1 when something is damaged."""
    from trainwright.checkpoint.summary import Verdict, verified

    verdicts: list[Verdict] = []
    for path in paths:
        verdicts += verified(path, trusted)
    n_bad = sum(bool(verdict.problem) for verdict in verdicts)
    if as_json:
        echo_json([{"path": v.path, "is_whole": not v.problem, "problem": v.problem, "note": v.note} for v in verdicts])
    else:
        for verdict in verdicts:
            text = f"DAMAGED  {verdict.problem}" if verdict.problem else f"ok       {verdict.path}"
            typer.echo(text + (f"  ({verdict.note})" if verdict.note else ""))
        typer.echo(f"{len(verdicts)} checked, {n_bad} damaged")
    return 1 if n_bad else 0


def diff_checkpoints(a: str, b: str, key: str | None, as_json: bool, trusted: bool) -> int:
    """Compare two checkpoints; 0: equal, 1: different, 2: one cannot be read."""
    from trainwright.checkpoint.difference import compared, counted
    from trainwright.checkpoint.kinds import read_checkpoint

    try:
        trees = [_part(path, read_checkpoint(path, trusted=trusted), key) for path in (a, b)]
    except CheckpointError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        return 2
    result = compared(*trees)
    counts = counted(result)
    if as_json:
        differences = [vars(difference) for difference in result.differences]
        echo_json({"a": a, "b": b, "counts": counts, "largest": result.largest, "differences": differences})
        return 1 if result.differences else 0
    if not result.differences:
        typer.echo(f"equal: {result.n_equal} values")
        return 0
    shown = [
        (d.kind, d.place, d.a, d.b, "" if d.largest is None else f"{d.largest:.3g}")
        for d in result.differences[:_N_SHOWN]
    ]
    typer.echo(table(shown, ("what", "where", "A", "B", "largest difference")))
    if len(result.differences) > _N_SHOWN:
        typer.echo(f"and {len(result.differences) - _N_SHOWN} more")
    typer.echo("\n" + ", ".join(f"{n} {kind}" for kind, n in counts.items() if n))
    first = result.first
    typer.echo(f"first that differs: {first.place if first else ''}")
    return 1


def size_text(n_bytes: int) -> str:
    """A size for people."""
    size = float(n_bytes)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _part(path: str, tree: Mapping[str, Any], key: str | None) -> Any:
    if key is None:
        return tree
    value: Any = tree
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            known = list(value) if isinstance(value, Mapping) else []
            raise CheckpointError(
                f"{path!r} has no part {key!r}; there it has {', '.join(map(str, known[:12])) or 'nothing'}."
                f"{did_you_mean(name, map(str, known))}"
            )
        value = value[name]
    return value
