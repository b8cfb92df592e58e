"""A run whose folder lies on a remote storage: a local folder stands in for it, and is uploaded in the background."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from trainwright.base.errors import CheckpointError, WorkDirError
from trainwright.base.logs import MMLogger
from trainwright.io.atomic import TMP_PREFIX, writable_dir
from trainwright.io.remote import Commit, RemoteFolder, committed, delete, download, is_committed, upload
from trainwright.io.storage import is_url
from trainwright.io.uploads import Job, Uploads, error_of

STAGING = "TRAINWRIGHT_STAGING"
_open: dict[str, RemoteRun] = {}  # by staging folder
R = TypeVar("R")


def staged(url: str, options: Mapping[str, Any] | None = None) -> RemoteRun:
    """The run at ``url``; in one process the same object for the same URL."""
    folder = str(staging_folder(url))
    if folder not in _open:
        _open[folder] = RemoteRun(url, options)
    return _open[folder]


def local_dir(path: str | os.PathLike[str], knob: str, options: Mapping[str, Any] | None = None) -> Path:
    """A folder that can be written for ``path``: itself, or, for a URL, the local one that stands in for it."""
    if is_url(os.fspath(path)):
        path = staged(os.fspath(path), options).folder
    return writable_dir(path, knob)


def remote_of(folder: str | os.PathLike[str]) -> RemoteRun | None:
    """The remote run that a local folder stands in for, if any."""
    return _open.get(os.path.abspath(folder))


def staging_folder(url: str) -> Path:
    """The local folder of a URL, the same one for each run on this machine: in ``$TRAINWRIGHT_STAGING``, else in the
    user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    base = os.environ.get(STAGING) or os.path.join(cache, "trainwright", "staging")
    url = url.rstrip("/")
    return Path(os.path.abspath(base)) / f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


class RemoteRun:
    """The storage at ``url``, and ``folder``, which stands in for it. Nothing here raises because the storage fails,
    except what reads from it."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None) -> None:
        self.url, self.folder = url.rstrip("/"), staging_folder(url)
        try:
            self.remote = RemoteFolder(self.url, options)
        except (ImportError, ValueError, OSError) as error:
            raise WorkDirError(
                f"the storage {url!r} cannot be used: {str(error).partition(chr(10))[0]}. Check the protocol, install "
                "the package that fsspec names for it, or use a local folder."
            ) from error
        self.uploads = Uploads(self.mirror)
        self.flush_s = 600.0
        self.read_tries, self.read_wait_s = 4, 1.0
        self._wanted: dict[str, dict[str, int]] = {}  # checkpoints that should be there, with their counters
        self._arrived: set[str] = set()
        self._deletable: list[tuple[str, str | None]] = []
        self._guard = threading.Lock()  # of the list above, which two threads change
        self._checkpoints: set[str] = set()
        self._mirrored: dict[str, tuple[int, int]] = {}

    def url_of(self, path: str | os.PathLike[str]) -> str:
        """What a file of the local folder is called on the storage."""
        return f"{self.url}/{Path(path).name}"

    # writing ----------------------------------------------------------------------------------------------------

    def upload(self, path: str, counters: Mapping[str, Any]) -> None:
        """Have a published checkpoint uploaded. It may be deleted here meanwhile: links hold its files."""
        local, name = Path(path), Path(path).name
        kept = {key: int(counters[key]) for key in ("iter", "epoch", "inner_iter") if key in counters}
        self._wanted[name] = kept
        self._checkpoints.add(name)
        self._arrived.discard(name)
        with self._guard:
            self._deletable = [item for item in self._deletable if item[0] != name]
        self.uploads.logger = MMLogger.get_current_instance()
        held = self.folder / f"{TMP_PREFIX}upload-{uuid.uuid4().hex}"
        source = _linked(local, held)

        def work() -> None:
            if name not in self._wanted:
                return
            upload(self.remote, name, source, kept)
            self._arrived.add(name)
            self._log().info("checkpoint %s is on %s", name, self.url)
            self._delete_old()

        self.uploads.add(Job(f"the upload of {name}", work, lambda: _drop(held), is_bulky=True))

    def delete(self, name: str, after: str | None = None) -> None:
        """Have a checkpoint deleted there, as soon as the checkpoint ``after`` has arrived."""
        self._wanted.pop(name, None)
        with self._guard:
            self._deletable.append((name, after))
        self.uploads.add(Job(f"the deletion of {name}", self._delete_old))

    def _delete_old(self) -> None:
        for item in list(self._deletable):
            name, after = item
            if after is None or after in self._arrived or is_committed(self.remote, after):
                delete(self.remote, name)
                with self._guard:
                    self._deletable = [other for other in self._deletable if other != item]

    def mirror(self) -> None:
        """Upload the logs, scalars and other small files that have changed."""
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            if any(part.startswith(".") for part in inside.parts) or self._is_checkpoint(inside.parts[0]):
                continue
            if not path.is_file():
                continue
            stat = path.stat()
            now = stat.st_size, stat.st_mtime_ns
            if self._mirrored.get(str(inside)) != now:
                self.remote.put(path, inside.as_posix())
                self._mirrored[str(inside)] = now

    def _is_checkpoint(self, name: str) -> bool:
        return name in self._checkpoints or name.endswith(".pth") or (self.folder / name / "MANIFEST.json").is_file()

    def flush(self, timeout_s: float | None = None) -> list[str]:
        """Wait until the checkpoints that are kept, the logs and the scalars are there, at most ``flush_s`` seconds;
        what is not is reported and returned."""
        limit = self.flush_s if timeout_s is None else timeout_s
        self.uploads.logger = MMLogger.get_current_instance()
        for name, counters in list(self._wanted.items()):
            if name not in self._arrived and (self.folder / name).exists() and not self._is_waiting(name):
                self.upload(str(self.folder / name), counters)
        self.uploads.add(Job("the upload of the logs", self.mirror))
        left = self.uploads.flush(limit)
        gaps = left + [f"the upload of {name}" for name in self._wanted if name not in self._arrived]
        if gaps:
            self._log().error(
                "not everything is on %s: %s. It is in %s, from where the next run of this work_dir uploads it",
                self.url,
                ", ".join(dict.fromkeys(gaps)),
                self.folder,
            )
        return list(dict.fromkeys(gaps))

    def _is_waiting(self, name: str) -> bool:
        return f"the upload of {name}" in self.uploads.flush(0.0)

    def close(self) -> None:
        """Let go of the thread and of the name; without waiting."""
        self.uploads.close()
        _open.pop(str(self.folder), None)

    # reading ----------------------------------------------------------------------------------------------------

    def commits(self) -> list[Commit]:
        """The checkpoints that are there as a whole; others are logged. Raises WorkDirError if the storage does not
        answer: to begin anew because of that would be worse."""
        commits, complaints = self._persistent(lambda: committed(self.remote), "listed")
        for complaint in complaints:
            self._log().warning("skipped a checkpoint: %s", complaint)
        return commits

    def fetch(self, commit: Commit) -> str:
        """Bring a checkpoint into the local folder, verified; CheckpointError when it is damaged."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log().info("fetching %s from %s", commit.name, self.url)
        path = self._persistent(lambda: download(self.remote, commit, self.folder), "read")
        self._arrived.add(commit.name)
        self._wanted[commit.name] = commit.counters
        self._checkpoints.add(commit.name)
        return str(path)

    def _persistent(self, work: Callable[[], R], done: str) -> R:
        results: list[R] = []
        pause, wait_s = threading.Event(), self.read_wait_s
        for n_left in reversed(range(self.read_tries)):
            error = error_of(lambda: results.append(work()))
            if error is None:
                break
            if isinstance(error, CheckpointError):
                raise error
            if not n_left:
                raise WorkDirError(
                    f"the storage {self.url!r} could not be {done} ({type(error).__name__}: {error}), tried "
                    f"{self.read_tries} times. Nothing was begun, so that no training starts anew by mistake."
                ) from error
            pause.wait(wait_s)
            wait_s *= 2
        return results[0]

    def _log(self) -> Any:
        return self.uploads.logger or MMLogger.get_current_instance()


def _linked(local: Path, held: Path) -> Path:
    """Hard links to the files of a checkpoint; the checkpoint itself on a file system that has none."""
    try:
        if local.is_dir():
            held.mkdir()
            for file in local.iterdir():
                os.link(file, held / file.name)
        else:
            os.link(local, held)
    except OSError:
        _drop(held)
        return local
    return held


def _drop(held: Path) -> None:
    if held.is_dir():
        shutil.rmtree(held, ignore_errors=True)
    else:
        held.unlink(missing_ok=True)
