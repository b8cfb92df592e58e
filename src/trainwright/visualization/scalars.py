"""The one reader of scalar files: what a run has written, put together over its parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isclose
from pathlib import Path
from typing import Any

from trainwright.base.errors import WorkDirError
from trainwright.base.text import did_you_mean

SCALARS = Path("vis_data") / "scalars.json"
RESUMED = "resumed.json"
BOOKKEEPING = frozenset({"step", "iter", "epoch", "time", "data_time", "memory", "eta", "phase"})


@dataclass(frozen=True)
class ScalarLine:
    """One line: its values as written, ``step`` among them, and the iteration it belongs to."""

    values: dict[str, Any]
    step: int | float
    iteration: int | float
    is_train: bool

    @property
    def kind(self) -> frozenset[str]:
        """Lines of one kind follow each other in time."""
        return frozenset({"train"}) if self.is_train else frozenset(self.values) - BOOKKEEPING

    def numbers(self) -> dict[str, int | float]:
        """What can be drawn, ``step`` not among them."""
        return {name: v for name, v in self.values.items() if name != "step" and isinstance(v, (int, float))}


@dataclass
class Scalars:
    """The lines that count, in order; where the run was resumed; what was left out of the files, for people."""

    lines: list[ScalarLine] = field(default_factory=list)
    resumed_at: list[int | float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def cut(self, iteration: int | float, val_due: bool = False) -> list[ScalarLine]:
        """Take out, and return, the lines after ``iteration``, with ``val_due`` also the validation at it."""

        def is_gone(line: ScalarLine) -> bool:
            return line.iteration > iteration or (val_due and not line.is_train and line.iteration == iteration)

        gone = [line for line in self.lines if is_gone(line)]
        self.lines = [line for line in self.lines if not is_gone(line)]
        return gone

    def points(self) -> dict[str, list[tuple[int | float, int | float]]]:
        """(step, value) of each name."""
        found: dict[str, list[tuple[int | float, int | float]]] = {}
        for line in self.lines:
            for name, value in line.numbers().items():
                found.setdefault(name, []).append((line.step, value))
        return found


@dataclass(frozen=True)
class Cut:
    """What goes when a run is taken up at ``iteration`` again, and what stays: (step, value) of each name."""

    iteration: int
    dropped: Mapping[str, list[tuple[int | float, int | float]]]
    kept: Mapping[str, list[tuple[int | float, int | float]]]

    @classmethod
    def of(cls, files: Iterable[Path], iteration: int, val_due: bool = False) -> Cut:
        """The cut that the scalar files of a run show; with ``val_due`` the validation at ``iteration`` comes again."""
        scalars = read_scalars(file for file in files if file.is_file())
        gone = Scalars(scalars.cut(iteration, val_due)).points()
        return cls(iteration, gone, scalars.points())

    def drops(self, name: str, step: int | float, value: float) -> bool:
        """Whether that point goes. By its value too: a line of training and one of validation, whose step is an epoch,
        have points of the same name and step. 32 bits of it count."""
        return any(
            step == gone_step and (isclose(value, gone, rel_tol=1e-6) or (value != value and gone != gone))
            for gone_step, gone in self.dropped.get(name, [])
        )


class _Merger:
    """Puts lines in their place; knows the last iteration, and where each epoch ended."""

    def __init__(self) -> None:
        self.found = Scalars()
        self.last: int | float = 0
        self.last_of_kind: dict[frozenset[str], int | float] = {}
        self.epoch_end: dict[Any, int | float] = {}

    def resume(self, iteration: int | float, val_due: bool) -> None:
        self.found.cut(iteration, val_due)
        self.found.resumed_at = [at for at in self.found.resumed_at if at < iteration] + [iteration]
        self.last = min(self.last, iteration)

    def add(self, values: dict[str, Any]) -> None:
        line = self._placed(values)
        if line.is_train:
            if line.iteration <= self.last:  # the run went back in time: what it overwrites is history
                self.found.lines = [old for old in self.found.lines if old.iteration < line.iteration]
            self.last = line.iteration
            if "epoch" in values:
                self.epoch_end[values["epoch"]] = line.iteration
        elif line.iteration <= self.last_of_kind.get(line.kind, -1):
            kept = [old for old in self.found.lines if old.kind != line.kind or old.iteration < line.iteration]
            self.found.lines = kept
        self.last_of_kind[line.kind] = line.iteration
        self.found.lines.append(line)

    def _placed(self, values: dict[str, Any]) -> ScalarLine:
        is_train = values["phase"] == "train" if "phase" in values else _is_train(values)
        step = _number(values.get("step"), _number(values.get("iter"), self.last + 1 if is_train else self.last))
        # The files of MMEngine have only the epoch in a line of validation, as its step.
        usual = step if is_train or not self.epoch_end else self.epoch_end.get(step, step)
        return ScalarLine(values, step, _number(values.get("iter"), usual), is_train)


def _is_train(values: Mapping[str, Any]) -> bool:
    return {"epoch", "iter"} <= set(values) or any(is_rate(name) for name in values)


def is_rate(name: str) -> bool:
    """Whether it is a learning rate."""
    return name in ("lr", "base_lr") or name.endswith(("/lr", "/base_lr", ".lr", ".base_lr"))


def _number(value: Any, otherwise: int | float) -> int | float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else otherwise


def read_scalars(files: str | Path | Iterable[str | Path]) -> Scalars:
    """Read one scalar file, or those of a run and its resumptions in order.

    A later line of the same kind at the same iteration or an earlier one replaces those from there on; a training line
    replaces everything from there on. Where ``resumed.json`` lies beside a file, the lines before it end at the
    iteration it names. A line that is no JSON object, such as the last one of a killed run, is left out and noted.
    """
    merger = _Merger()
    for file in [files] if isinstance(files, (str, Path)) else files:
        resumed = _resumed(Path(file).parent)
        if isinstance(resumed.get("iter"), int):
            merger.resume(resumed["iter"], bool(resumed.get("val_due")))
        for values in _lines(Path(file), merger.found.notes):
            merger.add(values)
    return merger.found


def _lines(file: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, text in enumerate(lines, 1):
            try:
                values = json.loads(text)
            except ValueError:
                values = None
            if isinstance(values, dict):
                yield values
            elif text.strip():
                why = "is no JSON object" if text.endswith("\n") else "is cut off, as by a kill in the middle of it"
                notes.append(f"{file}:{number} {why}; it is left out")


def _resumed(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RESUMED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def find_parts(run: str | Path) -> list[Path]:
    """The log folders of the run in ``run``, in order; ``run`` is a work folder, whose newest run is meant, or one log
    folder. Only parts that have a scalar file."""
    folder = Path(run)
    if not folder.is_dir():
        near = [str(path) for path in folder.parent.glob("*") if path.is_dir()] if folder.parent.is_dir() else []
        raise WorkDirError(f"{str(run)!r} is no folder of a run.{did_you_mean(str(folder), near)}")
    if (folder / SCALARS).is_file():
        return [folder]
    logs = sorted((file.parent.parent for file in folder.glob(f"*/{SCALARS.as_posix()}")), key=lambda log: log.name)
    if not logs:
        raise WorkDirError(
            f"{str(run)!r} has no scalars: looked for {SCALARS} (a log folder) or {Path('*') / SCALARS} (a work folder)"
        )
    earlier = [folder / str(part) for part in _resumed(logs[-1] / "vis_data").get("parts", [])]
    return [part for part in earlier if (part / SCALARS).is_file()] + [logs[-1]]


def read_run(run: str | Path) -> Scalars:
    """The scalars of a run, over its parts."""
    return read_scalars(part / SCALARS for part in find_parts(run))
