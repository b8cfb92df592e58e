"""The table of contents of a step folder: what must be in each of its files, and where each tensor lies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.chunks import Chunk
from trainwright.checkpoint.tensor_files import FileSum, sum_of

NAME = "MANIFEST.json"
FORMAT = "trainwright.step"
VERSION = 1


@dataclass
class TensorEntry:
    """One tensor: its name, its torch type without ``torch.``, its whole shape, and the chunks it was saved in."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    chunks: list[Chunk] = field(default_factory=list)


@dataclass
class Manifest:
    """What a folder holds. ``meta`` has the counters of the step, ``files`` its other files by name."""

    meta: dict[str, Any]
    world_size: int
    files: dict[str, FileSum] = field(default_factory=dict)
    tensors: dict[str, TensorEntry] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def add(self, files: dict[str, FileSum], tensors: dict[str, TensorEntry]) -> None:
        """Count in what one rank wrote."""
        self.files.update(files)
        for name, entry in tensors.items():
            self.tensors.setdefault(name, TensorEntry(name, entry.dtype, entry.shape)).chunks.extend(entry.chunks)

    def to_bytes(self) -> bytes:
        """As JSON, with a digest of all of it."""
        body = {
            "format": FORMAT,
            "version": VERSION,
            "meta": self.meta,
            "world_size": self.world_size,
            "versions": self.versions,
            "files": {name: list(total) for name, total in self.files.items()},
            "tensors": {
                name: [entry.dtype, entry.shape, [[c.file, c.offset, c.shape] for c in entry.chunks]]
                for name, entry in self.tensors.items()
            },
        }
        return json.dumps({**body, "digest": _digest(body)}).encode()

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest in ``folder``; CheckpointError when it is missing, damaged, or of a version to come."""
        try:
            body = json.loads((folder / NAME).read_bytes())
            digest = body.pop("digest")
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{str(folder)!r} is no step folder of a checkpoint: it has no {NAME}, which is written when all else "
                "is there. Use another checkpoint."
            ) from error
        except (OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise _damaged(folder, f"its {NAME} cannot be read ({type(error).__name__})") from error
        if digest != _digest(body):
            raise _damaged(folder, f"its {NAME} does not match its own digest")
        if body["format"] != FORMAT or body["version"] > VERSION:
            raise CheckpointError(
                f"{str(folder)!r} is a {body['format']} of version {body['version']}, and this Trainwright reads "
                f"{FORMAT} up to version {VERSION}: read it with a newer one."
            )
        return cls._from(folder, body)

    @classmethod
    def _from(cls, folder: Path, body: dict[str, Any]) -> Manifest:
        files = {name: FileSum(int(size), str(digest)) for name, (size, digest) in body["files"].items()}
        tensors = {
            name: TensorEntry(name, dtype, tuple(shape), [Chunk(tuple(at), tuple(n), file) for file, at, n in chunks])
            for name, (dtype, shape, chunks) in body["tensors"].items()
        }
        named = {*files, *(chunk.file for entry in tensors.values() for chunk in entry.chunks)}
        for name in named:
            if Path(name).name != name or name in (".", "..") or name not in files:
                raise _damaged(folder, f"its {NAME} names {name!r}, which is no file of the folder")
        return cls(dict(body["meta"]), int(body["world_size"]), files, tensors, dict(body["versions"]))

    def check_files(self, folder: Path, sums: bool = True, share: tuple[int, int] = (0, 1)) -> None:
        """CheckpointError unless every file is there with its size and, with ``sums``, its checksum. Threads share the
        work; of several ranks each sums up its ``share`` (rank, number of ranks) of the files."""
        for name, total in self.files.items():
            path = folder / name
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                raise _damaged(folder, f"its file {name!r} is missing")
            if size != total.size:
                raise _damaged(folder, f"its file {name!r} has {size:,} bytes instead of {total.size:,}")
        if not sums:
            return
        with ThreadPoolExecutor(4) as pool:
            own = sorted(self.files.items())[share[0] :: share[1]]
            _compare(folder, own, pool.map(sum_of, (folder / name for name, _ in own)))


def _compare(folder: Path, files: Iterable[tuple[str, FileSum]], found: Iterable[FileSum]) -> None:
    for (name, total), actual in zip(files, found, strict=True):
        if actual != total:
            raise _damaged(folder, f"the checksum of its file {name!r} does not match its bytes")


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _damaged(folder: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {str(folder)!r} is damaged: {what}. Its copy did not finish, or the disk changed it. Use an older "
        "checkpoint, or copy it again."
    )
