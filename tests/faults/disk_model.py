"""A disk that loses power: which files there can be afterwards, given the calls that were made.

What a call does to a file's bytes is safe after an fsync of that file; what it does to a name, after an fsync of the
folder. Until then each effect may have reached the disk or not, whatever the others did, and of a write a part.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from os_layer import Op

Files = dict[str, bytes | None]  # by path; None for a folder
ROOT = 0


@dataclass(frozen=True)
class Effect:
    """What one call did: to bytes of the file `node`, or to a name in the folder `node` (and `node2`, for a rename)."""

    kind: str  # data, cut, link, drop, move
    node: int
    name: str = ""
    child: int = -1
    node2: int = -1
    name2: str = ""
    offset: int = 0
    data: bytes = b""
    is_folder: bool = False

    def parts(self) -> list[Effect]:
        """A write of which the first half arrived, or all but the last byte."""
        lengths = {len(self.data) // 2, len(self.data) - 1} - {0, -1}
        return [Effect(self.kind, self.node, offset=self.offset, data=self.data[:n]) for n in sorted(lengths)]


class Disk:
    """Files and folders by number, names in folders."""

    def __init__(self) -> None:
        self.names: dict[int, dict[str, int]] = {ROOT: {}}
        self.bytes: dict[int, bytes] = {}

    def copy(self) -> Disk:
        """Another one with the same content."""
        other = Disk()
        other.names = {node: dict(names) for node, names in self.names.items()}
        other.bytes = dict(self.bytes)
        return other

    @classmethod
    def of(cls, files: Files) -> Disk:
        """With these files on it."""
        disk = cls()
        for path, data in sorted(files.items()):
            folder, name = disk.place(path)
            node = disk.new_node()
            if data is None:
                disk.names[node] = {}
            else:
                disk.bytes[node] = data
            disk.names[folder][name] = node
        return disk

    def new_node(self) -> int:
        """A number that is not used yet."""
        return len(self.names) + len(self.bytes)

    def place(self, path: str) -> tuple[int, str]:
        """The folder of a path, and the name in it."""
        *folders, name = path.split(os.sep)
        node = ROOT
        for folder in folders:
            node = self.names[node][folder]
        return node, name

    def find(self, path: str) -> int:
        """The file or folder at a path."""
        folder, name = ("", "") if path == "." else self.place(path)
        return ROOT if path == "." else self.names[folder][name]  # type: ignore[index]

    def apply(self, effect: Effect) -> None:
        """Let it happen, as far as what it touches is there."""
        if effect.kind == "data":
            old = self.bytes.setdefault(effect.node, b"").ljust(effect.offset, b"\0")
            self.bytes[effect.node] = old[: effect.offset] + effect.data + old[effect.offset + len(effect.data) :]
        elif effect.kind == "cut":
            self.bytes[effect.node] = b""
        elif effect.kind == "link":
            self.names[effect.node][effect.name] = effect.child
            if effect.is_folder:
                self.names.setdefault(effect.child, {})
            else:
                self.bytes.setdefault(effect.child, b"")
        elif effect.kind == "drop":
            self.names[effect.node].pop(effect.name, None)
        elif effect.kind == "move":
            if self.names[effect.node].get(effect.name) == effect.child:
                del self.names[effect.node][effect.name]
            self.names[effect.node2][effect.name2] = effect.child

    def files(self, node: int = ROOT, above: str = "") -> Files:
        """All that can be reached by a name."""
        found: Files = {}
        for name, child in self.names.get(node, {}).items():
            path = os.path.join(above, name)
            if child in self.bytes:
                found[path] = self.bytes[child]
            else:
                found[path] = None
                found.update(self.files(child, path))
        return found


@dataclass
class Step:
    """One call, as its effect, or as the node that it makes safe, or as a mark."""

    op: Op
    effect: Effect | None = None
    syncs: int | None = None


def steps_of(files: Files, ops: Iterable[Op]) -> tuple[list[Step], Files]:
    """The calls that were made on a disk with these files, and what is there in the end if nothing is lost."""
    disk = Disk.of(files)
    disk_nodes = itertools.count(disk.new_node())
    steps: list[Step] = []
    for op in ops:
        step = _step(disk, op, disk_nodes)
        if step.effect is not None:
            disk.apply(step.effect)
            if step.effect.kind == "link" and step.effect.is_folder:
                disk.names.setdefault(step.effect.child, {})
        steps.append(step)
    return steps, disk.files()


def _step(disk: Disk, op: Op, new: Iterator[int]) -> Step:
    if op.kind == "mark":
        return Step(op)
    if op.kind in ("fsync", "fsync_dir"):
        return Step(op, syncs=disk.find(op.path))
    if op.kind in ("write", "truncate"):
        kind = "data" if op.kind == "write" else "cut"
        return Step(op, Effect(kind, disk.find(op.path), offset=op.offset, data=op.data))
    folder, name = disk.place(op.path)
    if op.kind in ("create", "mkdir"):
        return Step(op, Effect("link", folder, name, next(new), is_folder=op.kind == "mkdir"))
    if op.kind == "rename":
        to, new_name = disk.place(op.other)
        return Step(op, Effect("move", folder, name, disk.find(op.path), to, new_name))
    return Step(op, Effect("drop", folder, name))


@dataclass
class Crash:
    """What may be on the disk when the power goes after `n_calls` calls; `marks` were reached by then."""

    n_calls: int
    files: Files
    lost: str
    marks: tuple[str, ...]


def crashes(files: Files, ops: Iterable[Op], max_deviations: int = 2) -> Iterator[Crash]:
    """Every different outcome of a power loss at any moment: of the effects that no fsync has made safe, all arrived
    but for up to `max_deviations`, or none but for so many; a write may have arrived in part."""
    steps, _ = steps_of(files, ops)
    seen: set[object] = set()
    for n_calls in range(len(steps) + 1):
        marks = tuple(step.op.path for step in steps[:n_calls] if step.op.kind == "mark")
        for chosen, lost in _outcomes(steps[:n_calls], max_deviations):
            disk = Disk.of(files)
            for node in _folders(steps):
                disk.names.setdefault(node, {})
            for effect in chosen:
                disk.apply(effect)
            found = disk.files()
            key = marks, frozenset(found.items())
            if key not in seen:
                seen.add(key)
                yield Crash(n_calls, found, lost, marks)


def _folders(steps: list[Step]) -> list[int]:
    return [step.effect.child for step in steps if step.effect is not None and step.effect.is_folder]


def _outcomes(steps: list[Step], max_deviations: int) -> Iterator[tuple[list[Effect], str]]:
    """The effects that happened, and in words which did not."""
    pending = _pending(steps)
    effects = {at: step.effect for at, step in enumerate(steps) if step.effect is not None}
    changes: list[tuple[int, Effect | None]] = [(at, None) for at in pending]
    changes += [(at, part) for at in pending for part in effects[at].parts()]
    for n_changed in range(max_deviations + 1):
        for changed in itertools.combinations(changes, n_changed):
            deviating = dict(changed)
            if len(deviating) < n_changed:
                continue
            happened = [deviating.get(at, effect) for at, effect in effects.items()]
            texts = [f"{'a part of ' if part else ''}{steps[at].op}" for at, part in changed]
            yield [effect for effect in happened if effect is not None], "lost: " + ", ".join(texts)
            happened = [
                (deviating[at] or effect) if at in deviating else effect
                for at, effect in effects.items()
                if at not in pending or at in deviating
            ]
            yield happened, "lost all that was not safe but: " + ", ".join(texts)


def _pending(steps: list[Step]) -> list[int]:
    """Which steps have an effect that a power loss could undo."""
    pending: dict[int, set[int]] = {}
    for at, step in enumerate(steps):
        if step.effect is not None:
            nodes = {step.effect.node} | ({step.effect.node2} if step.effect.kind == "move" else set())
            pending[at] = nodes
        elif step.syncs is not None:
            for nodes in pending.values():
                nodes.discard(step.syncs)
    return [at for at, nodes in pending.items() if nodes]


def read_files(folder: str | os.PathLike[str], skip: Iterable[str] = ()) -> Files:
    """What is in a folder."""
    root = Path(folder)
    skipped = set(skip)
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
        if not skipped & set(path.relative_to(root).parts)
    }


def put_files(folder: str | os.PathLike[str], files: Files) -> None:
    """Make the folder hold these files and nothing else, but for names that begin with a digit: logs of runs."""
    import shutil

    root = Path(folder)
    root.mkdir(exist_ok=True)
    for path in list(root.iterdir()):
        if not path.name[0].isdigit():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name, data in sorted(files.items()):
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)
