"""``trainwright verify-resume``: does a run of this config go on exactly where it was stopped?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from trainwright.cli.terminal import echo_json

if TYPE_CHECKING:
    from trainwright.runner.verify_resume import Verdict

_MOST_LINES = 10


def verify_config(
    config: str, n_iters: int, at: int | None, workers: Sequence[int], cfg_options: Sequence[str], as_json: bool
) -> int:
    """Verify, once for each number of workers, and write what came of it; the exit code."""
    from trainwright.runner.verify_resume import Plan, verify_resume

    numbers: list[int | None] = [*workers] or [None]
    verdicts = [verify_resume(Plan(config, n_iters, at, number, tuple(cfg_options))) for number in numbers]
    if as_json:
        echo_json([_as_dict(verdict) for verdict in verdicts])
    else:
        typer.echo("\n".join(line for verdict in verdicts for line in _lines(verdict)))
    return 0 if all(verdict.exact for verdict in verdicts) else 1


def _as_dict(verdict: Verdict) -> dict[str, Any]:
    return {**dataclasses.asdict(verdict), "exact": verdict.exact}


def _lines(verdict: Verdict) -> Iterator[str]:
    workers = "" if verdict.workers is None else f", num_workers={verdict.workers}"
    run = f"{verdict.n_iters} iterations against {verdict.at} + resume + {verdict.n_iters - verdict.at}{workers}"
    if verdict.exact:
        yield f"{run}: exact. {verdict.n_compared} values are equal, bit for bit."
        return
    found = verdict.differences
    yield f"{run}: NOT exact. {len(found)} of {verdict.n_compared} values differ; the first:"
    yield f"  {found[0]}"
    yield from (f"  {difference}" for difference in found[1:_MOST_LINES])
    if len(found) > _MOST_LINES:
        yield f"  and {len(found) - _MOST_LINES} more (--json shows all)"
    if verdict.cause:
        yield f"Likely: {verdict.cause}."
