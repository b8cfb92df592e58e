"""``trainwright replay``: one recorded training step, taken again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from trainwright.base.text import table
from trainwright.cli.terminal import echo_json

if TYPE_CHECKING:
    from trainwright.checkpoint import StepRecord
    from trainwright.runner.diagnosis import Diagnosis, TensorFacts
    from trainwright.runner.replay import Replay

_MOST_LINES = 10


def replay_recorded(step_dir: str, cfg_options: Sequence[str], diagnose: bool, as_json: bool) -> int:
    """Take the step again and write what came of it; the exit code."""
    from trainwright.runner import replay_config

    replay = replay_config(step_dir, cfg_options, diagnose)
    if as_json:
        echo_json(_as_dict(replay))
    else:
        typer.echo("\n".join(_lines(replay)))
    return 0 if replay.reproduced else 1


def _as_dict(replay: Replay) -> dict[str, Any]:
    record = dataclasses.asdict(replay.record)
    return {
        "reproduced": replay.reproduced,
        "differences": replay.differences,
        "notes": replay.notes,
        "losses": _with_hex(replay.losses),
        "grad_norms": _with_hex(replay.grad_norms),
        "record": {**record, **{name: _with_hex(record[name]) for name in ("losses", "grad_norms")}},
        "diagnosis": None if replay.diagnosis is None else dataclasses.asdict(replay.diagnosis),
    }


def _with_hex(numbers: dict[str, float]) -> dict[str, dict[str, str]]:
    return {name: {"text": repr(number), "hex": number.hex()} for name, number in numbers.items()}


def _lines(replay: Replay) -> Iterator[str]:
    record = replay.record
    yield from _step(record)
    yield ""
    yield table(_numbers(replay), ("", "recorded", "now"))
    yield ""
    yield from (f"note: {note}" for note in replay.notes)
    if replay.reproduced:
        yield "Reproduced bit for bit."
    else:
        yield "NOT reproduced:"
        yield from (f"  {difference}" for difference in replay.differences)
    if replay.diagnosis is not None:
        yield ""
        yield from _findings(replay.diagnosis)
        yield from _bad_samples(replay.diagnosis.bad_rows, record.sample_indices)


def _step(record: StepRecord) -> Iterator[str]:
    yield (
        f"Iteration {record.iteration} (epoch {record.epoch}, batch {record.batch_idx}; all counted from 0), recorded "
        f"because {record.reason}; policy {record.policy}."
    )
    autocast = "" if record.autocast is None else f", autocast to {record.autocast}"
    yield f"Taken on {record.device} with torch {record.torch_version}{autocast}, seed {record.seed}."
    if record.sample_indices is not None:
        shown = ", ".join(map(str, record.sample_indices[:64]))
        yield f"Samples: {shown}{', ...' if len(record.sample_indices) > 64 else ''}"
    if record.batch_missing is not None:
        yield f"The batch was not recorded, so it is not compared: {record.batch_missing}."


def _numbers(replay: Replay) -> Iterator[tuple[str, str, str]]:
    record = replay.record
    pairs = (("", record.losses, replay.losses), ("grad_norm", record.grad_norms, replay.grad_norms))
    for prefix, before, now in pairs:
        names = dict.fromkeys([*before, *(name for name in now if f"train/{name}" not in before)])
        for name in names:
            values = (before.get(name), now.get(name, now.get(name.removeprefix("train/"))))
            texts = ["-" if value is None else repr(value) for value in values]
            yield "/".join(part for part in (prefix, name) if part), texts[0], texts[1]


def _findings(found: Diagnosis) -> Iterator[str]:
    yield from _listed("Not finite before the step", found.weights)
    if found.modules_unknown is not None:
        yield f"Modules were not looked at: {found.modules_unknown}."
    elif not found.modules:
        yield "Every module's output is finite."
    titles = ("First module whose output is not finite", "First with a NaN")
    for module, first in zip(found.modules, titles, strict=False):
        inputs = "its inputs are finite" if module.inputs_finite else "its inputs are not finite either"
        yield f"{first}: {module.name or 'the model itself'} ({module.kind}); {inputs}"
        yield f"  {module.output}"
    if found.gradients:
        yield from _listed("Gradients that are not finite", found.gradients)
    else:
        yield "All gradients are finite."
    yield from _listed("Batch", found.batch)


def _bad_samples(rows: list[int], indices: list[int] | None) -> Iterator[str]:
    """Which samples of the batch are not finite, where its tensors have one row a sample."""
    if not rows:
        return
    shown = ", ".join(map(str, rows[:_MOST_LINES])) + (", ..." if len(rows) > _MOST_LINES else "")
    samples = ""
    if indices is not None and max(rows) < len(indices):
        samples = f": samples {', '.join(str(indices[row]) for row in rows[:_MOST_LINES])}"
    yield f"  not finite in rows {shown} of the batch{samples}"


def _listed(title: str, facts: list[TensorFacts]) -> Iterator[str]:
    if facts:
        yield f"{title} ({len(facts)}):" if len(facts) > 1 else f"{title}:"
        yield from (f"  {each}" for each in facts[:_MOST_LINES])
    if len(facts) > _MOST_LINES:
        yield f"  and {len(facts) - _MOST_LINES} more"
