"""A folder on any storage that fsspec reaches, and checkpoints in it that exist as a whole or not at all.

Storages of objects have no rename that could publish a folder at once. So a checkpoint is uploaded under its final
names, and a ``COMMIT`` object with the size and checksum of each of its files is written last: what has none is no
checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from trainwright.base.errors import CheckpointError
from trainwright.io.atomic import TMP_PREFIX, fsync_dir

COMMIT = "COMMIT"
_BLOCK = 1 << 20


class RemoteFile(NamedTuple):
    """Where a file lies, and what its bytes must be."""

    key: str
    size: int
    sha256: str


class RemoteFolder:
    """Reads and writes by names below ``url``; ``options`` go to its fsspec class, whose errors are raised."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        from fsspec.core import url_to_fs  # lazy: fsspec is needed for URLs only

        self.url = url.rstrip("/")
        self._fs, root = url_to_fs(self.url, **(options or {}))
        self._root = root.rstrip("/")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root or "/"

    def put(self, local: Path, name: str) -> None:
        """Upload a file."""
        self._fs.put_file(str(local), self._with_folder(name))

    def get(self, name: str, local: Path) -> None:
        """Download a file."""
        self._fs.get_file(self._at(name), str(local))

    def write(self, name: str, data: bytes) -> None:
        """Write a small object."""
        self._fs.pipe_file(self._with_folder(name), data)

    def _with_folder(self, name: str) -> str:
        target = self._at(name)
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        return target

    def read(self, name: str) -> bytes | None:
        """A small object; None when there is none."""
        try:
            return bytes(self._fs.cat_file(self._at(name)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, name: str) -> int:
        """Bytes of an object."""
        self._fs.invalidate_cache()
        return int(self._fs.info(self._at(name))["size"])

    def names(self, name: str = "") -> dict[str, bool]:
        """What lies directly below, by name: whether it is a folder."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.ls(self._at(name), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {PurePosixPath(item["name"]).name: item["type"] == "directory" for item in found}

    def remove(self, name: str) -> None:
        """Delete an object, or all below a name; one that is gone is no error."""
        try:
            self._fs.rm(self._at(name), recursive=True)
        except (FileNotFoundError, NotADirectoryError):
            return


@dataclass(frozen=True)
class Commit:
    """A checkpoint on the storage: its name, its counters, and its files by name (of a single file one, by its own)."""

    name: str
    is_folder: bool
    counters: dict[str, int]
    files: dict[str, RemoteFile]

    def to_bytes(self) -> bytes:
        """As JSON, with a digest of all of it."""
        body = {
            "name": self.name,
            "is_folder": self.is_folder,
            "counters": self.counters,
            "files": {name: list(file) for name, file in self.files.items()},
        }
        return json.dumps({**body, "digest": _digest(body)}, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> Commit:
        """Raises CheckpointError for an object that is torn, or that names a file outside the checkpoint."""
        try:
            body = json.loads(data)
            digest = body.pop("digest")
            files = {str(file): RemoteFile(str(k), int(n), str(total)) for file, (k, n, total) in body["files"].items()}
            counters = {key: int(value) for key, value in body["counters"].items()}
            is_sound = digest == _digest(body) and body["name"] == name and bool(files)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            is_sound = False
        if not is_sound:
            raise CheckpointError(f"the {COMMIT} object of {name!r} is damaged")
        for file, (key, _, _) in files.items():
            if not _is_plain(file) or not all(_is_plain(part) for part in key.split("/")):
                raise CheckpointError(f"the {COMMIT} object of {name!r} names {file!r}, which is no file of it")
        return cls(name, bool(body["is_folder"]), counters, files)


def commit_key(name: str, is_folder: bool) -> str:
    """Where the COMMIT object of a checkpoint lies."""
    return f"{name}/{COMMIT}" if is_folder else f"{name}.{COMMIT}"


def upload(remote: RemoteFolder, name: str, local: Path, counters: dict[str, int]) -> Commit:
    """Put the checkpoint at ``local`` on the storage as ``name``.

    One that is there under the same name stays valid until the new one is committed: then the new files get names of
    their own, of which the COMMIT object knows.
    """
    is_folder = local.is_dir()
    paths = sorted(local.iterdir()) if is_folder else [local]
    sums = {path.name if is_folder else name: _sum(path) for path in paths}
    old = _read_commit(remote, name, is_folder)
    if old is not None and {file: item[1:] for file, item in old.files.items()} == sums:
        return old
    suffix = f".{uuid.uuid4().hex[:8]}" if old is not None else ""
    files = {
        file: RemoteFile((f"{name}/{file}" if is_folder else file) + suffix, *total) for file, total in sums.items()
    }
    for path, item in zip(paths, files.values(), strict=True):
        remote.put(path, item.key)
        if remote.size(item.key) != item.size:
            raise OSError(f"of {item.key!r} only {remote.size(item.key):,} of {item.size:,} bytes arrived")
    commit = Commit(name, is_folder, counters, files)
    remote.write(commit_key(name, is_folder), commit.to_bytes())
    if remote.read(commit_key(name, is_folder)) != commit.to_bytes():
        raise OSError(f"the {COMMIT} object of {name!r} did not arrive as it was sent")
    for item in () if old is None else old.files.values():
        remote.remove(item.key)
    return commit


def committed(remote: RemoteFolder) -> tuple[list[Commit], list[str]]:
    """The checkpoints on the storage, and what is to be said of those that are none."""
    commits, complaints = [], []
    there = remote.names()
    for name, is_folder in sorted(there.items()):
        if not is_folder and not name.endswith(f".{COMMIT}"):
            continue
        step = name if is_folder else name[: -len(COMMIT) - 1]
        try:
            commit = _read_commit(remote, step, is_folder, is_strict=True)
        except CheckpointError as error:
            complaints.append(f"{error} at {remote.url}")
            continue
        if commit is not None:
            commits.append(commit)
        elif any(file.startswith("tensors-") for file in remote.names(step)):
            complaints.append(f"{remote.url}/{step} has no {COMMIT} object: its upload did not finish")
    return commits, complaints


def _read_commit(remote: RemoteFolder, name: str, is_folder: bool, is_strict: bool = False) -> Commit | None:
    data = remote.read(commit_key(name, is_folder))
    try:
        return None if data is None else Commit.from_bytes(data, name)
    except CheckpointError:
        if is_strict:
            raise
        return None


def is_committed(remote: RemoteFolder, name: str) -> bool:
    """Whether the storage has the whole checkpoint."""
    return any(_read_commit(remote, name, is_folder) is not None for is_folder in (False, True))


def delete(remote: RemoteFolder, name: str) -> None:
    """Delete a checkpoint: by its COMMIT object it ceases to be one, then its files go."""
    for key in (commit_key(name, False), commit_key(name, True)):
        remote.remove(key)
    remote.remove(name)
    for other in remote.names():  # files of a second upload under the name
        if other.startswith(f"{name}.") and len(other) == len(name) + 9:
            remote.remove(other)


def download(remote: RemoteFolder, commit: Commit, folder: Path) -> Path:
    """Bring a checkpoint into a local folder, under its name; every byte is compared with the COMMIT object. Raises
    CheckpointError when one differs, and leaves nothing then."""
    tmp = folder / f"{TMP_PREFIX}{commit.name}-{uuid.uuid4().hex}"
    target = folder / commit.name
    try:
        if commit.is_folder:
            tmp.mkdir()
        for file, item in commit.files.items():
            local = tmp / file if commit.is_folder else tmp
            _fetch(remote, item, local)
        if commit.is_folder:
            fsync_dir(tmp)
        if target.is_dir():  # a damaged one
            _remove([target.rename(folder / f"{TMP_PREFIX}{commit.name}-{uuid.uuid4().hex}")])
        os.replace(tmp, target)
    except BaseException:
        _remove([tmp])
        raise
    fsync_dir(folder)
    return target


def _fetch(remote: RemoteFolder, item: RemoteFile, local: Path) -> None:
    try:
        remote.get(item.key, local)
    except FileNotFoundError as error:
        raise CheckpointError(f"{remote.url}/{item.key} is missing, and its {COMMIT} object names it") from error
    if _sum(local) != (item.size, item.sha256):
        raise CheckpointError(f"{remote.url}/{item.key} is damaged: its bytes are not those that were uploaded")
    with open(local, "rb+") as file:
        os.fsync(file.fileno())


def _remove(paths: Iterable[Path]) -> None:
    import shutil

    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sum(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _is_plain(part: str) -> bool:
    return part not in ("", ".", "..") and "/" not in part and "\\" not in part and "\0" not in part
