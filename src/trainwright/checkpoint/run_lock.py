"""One run a work_dir: a lock that the kernel lets go of when its process ends, however it ends.

POSIX locks (``fcntl.lockf``), not ``flock``: a flock is shared with every process that was forked, so after a kill -9
it stays held until the last worker of a DataLoader has ended. A POSIX lock belongs to the process alone. Its price:
closing *any* descriptor of the file in the process lets it go. So the file is opened once, :data:`_held` keeps a second
Runner of the same process from opening it, and each save takes it once more.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainwright.base.errors import WorkDirLockedError
from trainwright.base.logs import MMLogger
from trainwright.dist import from_main

NAME = ".lock"
_held: dict[tuple[int, str], RunLock] = {}  # by process, since a forked one has this too, and not the locks
_guard = threading.Lock()


class RunLock:
    """The lock of ``folder``. ``acquire`` takes it or raises WorkDirLockedError; a ``with`` block does both.

    Where there are several ranks the first one holds it. A folder that cannot be locked (no permission, a network file
    system without a lock service) is worked in without, and that is said.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._key = (0, "")
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process holds it through this object."""
        return self._fd is not None and self._key[0] == os.getpid()

    def acquire(self) -> None:
        """Take the lock, at once or not at all. Rank 0 does, and where it is refused all ranks are."""
        from_main(self._acquire)

    def _acquire(self) -> None:
        if self.is_held:
            return
        with _guard:
            self._key = (os.getpid(), os.path.realpath(self.folder))
            if self._key in _held:
                raise WorkDirLockedError(
                    f"another Runner of this process trains in {str(self.folder)!r}. Two runs in one work_dir mix "
                    "their checkpoints: give one of them another work_dir, or start it when the first has ended."
                )
            self._fd = self._locked_fd()
            if self._fd is not None:
                _held[self._key] = self

    def _locked_fd(self) -> int | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            self._unlocked(error)
            return None
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(fd)
            os.close(fd)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise WorkDirLockedError(self._refusal(holder)) from None
            self._unlocked(error)
            return None
        _write(fd, json.dumps(_about_me()).encode())
        return fd

    def _unlocked(self, error: OSError) -> None:
        MMLogger.get_current_instance().warning(
            "work_dir %s cannot be locked (%s), so nothing keeps a second run out of it: see to it that there is none",
            self.folder,
            error.strerror or error,
        )

    def _refusal(self, holder: dict[str, Any]) -> str:
        who = "which has not said who it is"
        if holder:
            who = f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('time')}"
        return (
            f"another run works in {str(self.folder)!r}: {who}. Two runs in one work_dir mix their checkpoints and "
            "delete each other's: choose another work_dir, or end that run first. The lock goes with its process, so "
            "there is no file to delete."
        )

    def release(self) -> None:
        """Let it go; of a lock that is not held nothing."""
        if not self.is_held:
            return
        with _guard:
            fd, self._fd = self._fd, None
            assert fd is not None
            _write(fd, b"")
            os.close(fd)
            _held.pop(self._key, None)

    def __enter__(self) -> RunLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def is_held(folder: str | os.PathLike[str]) -> bool:
    """Whether this process holds the lock of ``folder``."""
    return (os.getpid(), os.path.realpath(folder)) in _held


def renew(folder: str | os.PathLike[str]) -> None:
    """Take a lock that this process holds once more: whatever in it has read the file meanwhile, as a copy of the
    folder does, has let it go. WorkDirLockedError when another run has come in since."""
    lock = _held.get((os.getpid(), os.path.realpath(folder)))
    if lock is None or lock._fd is None:
        return
    try:
        fcntl.lockf(lock._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise WorkDirLockedError(lock._refusal(_read(lock._fd))) from None
        raise


def _about_me() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "time": time.strftime("%Y-%m-%d %H:%M:%S")}


def _write(fd: int, content: bytes) -> None:
    """Say who holds the lock. It is held by the kernel's word and not by this one, so a full disk does no harm."""
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)


def _read(fd: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
    except (OSError, ValueError):  # it holds the lock and is about to write, or its disk is full
        return {}
    return holder if isinstance(holder, dict) else {}
