"""Files that the processes of one run share on one machine: a private folder, locks in it, and mapped files.

Nothing here is collective: a process only ever waits for another that is at work on the very thing it wants, and the
kernel releases the locks of a process that dies. The folder goes with the last process that uses it. What a killed run
left is removed when the next one of the same user begins.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterator
from multiprocessing import util
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np

SHARED_MEMORY = "/dev/shm"  # a file here is memory, and no disk is written
_PREFIX = "trainwright"
_ALIVE = "alive"  # every process of the run holds a shared lock on it

_folders: weakref.WeakValueDictionary[tuple[int, str], RunFolder] = weakref.WeakValueDictionary()
_files: weakref.WeakValueDictionary[tuple[int, str], MappedFile] = weakref.WeakValueDictionary()
_closes_at_exit_of = 0


class RunFolder:
    """The folder of the run `name`, made by the first process that opens it. Raises OSError where there is no room."""

    def __init__(self, name: str) -> None:
        self.path, self._alive = _join(f"{_PREFIX}-{os.geteuid()}-{name}")
        self.close = weakref.finalize(self, _leave, self.path, self._alive, os.getpid())
        self.close.atexit = False

    @classmethod
    def open(cls, name: str) -> RunFolder:
        """The one that this process has open, or a new one."""
        _close_all_at_exit()
        key = (os.getpid(), name)
        folder = _folders.get(key)
        if folder is None or not folder.close.alive:
            folder = _folders[key] = cls(name)
            _sweep()
        return folder

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Wait until no other process holds the lock `key`, and hold it."""
        path = os.path.join(self.path, f"{key}.lock")
        fd = _lock(path, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # who waits for it sees that the file is another one, and asks again
            os.close(fd)

    def places(self) -> list[str]:
        """Folders for large files, best first: this one, and one on disk where this one is in memory."""
        found = [self.path]
        disk = os.path.join(tempfile.gettempdir(), os.path.basename(self.path))
        if disk != self.path:
            _make_private(disk)
            found.append(disk)
        return found


class MappedFile:
    """A file mapped for reading. It is removed when no process uses it any more."""

    def __init__(self, path: str, folder: RunFolder | None) -> None:
        self.path = path
        self.folder = folder  # which stays open as long as its files
        self.heads: list[str] = []  # files that describe this one, made by this process
        self.fd = _lock(path, fcntl.LOCK_SH, create=False)
        self.mapping = mmap.mmap(self.fd, 0, access=mmap.ACCESS_READ)
        self.close = weakref.finalize(self, _release, path, self.fd, self.heads, os.getpid())
        self.close.atexit = False

    @classmethod
    def open(cls, path: str, folder: RunFolder | None = None) -> MappedFile:
        """The one that this process has open, or a new one; FileNotFoundError when it is gone."""
        _close_all_at_exit()
        key = (os.getpid(), path)
        file = _files.get(key)
        if file is None or not file.close.alive:
            file = _files[key] = cls(path, folder)
        return file

    def array(self, offset: int, length: int, dtype: str) -> MappedArray:
        """`length` items from byte `offset` on, without a copy."""
        array = MappedArray((length,), dtype, self.mapping, offset)
        array.file = self
        return array


class MappedArray(np.ndarray[Any, Any]):
    """A read-only array over a mapped file. To a spawned process it travels as the name of the file."""

    file: MappedFile | None = None  # of the whole; a part finds it through `base`

    def source(self) -> tuple[MappedFile, int] | None:
        """The file, and the place of the first byte in it; None for an array that is a copy, or not contiguous."""
        whole: Any = self
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        file = getattr(whole, "file", None)
        if file is None or not self.flags.c_contiguous:
            return None
        start = np.frombuffer(file.mapping, np.uint8, 1).__array_interface__["data"][0]
        return file, self.__array_interface__["data"][0] - start

    def __reduce__(self) -> Any:
        source = self.source()
        if source is None or get_spawning_popen() is None:  # what is kept may outlive the file
            return np.array(self, subok=False).__reduce__()
        file, offset = source
        return _reopen, (file.path, offset, len(self), self.dtype.str)

    def __deepcopy__(self, memo: dict[int, Any] | None) -> Any:
        return self if self.source() is not None else np.array(self, subok=False)


def _reopen(path: str, offset: int, length: int, dtype: str) -> MappedArray:
    return MappedFile.open(path).array(offset, length, dtype)


def _join(name: str) -> tuple[str, int]:
    """Make the folder in the best place, and hold its life lock; what an earlier run of that name left is removed."""
    path = os.path.join(_best_place(), name)
    while True:
        _make_private(path)
        try:
            fd = _open(os.path.join(path, _ALIVE), create=True)
        except FileNotFoundError:  # the last process of the run has just left it
            continue
        alone = _try_exclusive(fd)
        if not alone:
            fcntl.lockf(fd, fcntl.LOCK_SH)
        if not _is_at(fd, os.path.join(path, _ALIVE)):
            os.close(fd)
            continue
        if alone:
            _empty(path)
            fcntl.lockf(fd, fcntl.LOCK_SH)
        return path, fd


def _best_place() -> str:
    if os.path.isdir(SHARED_MEMORY) and os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        return SHARED_MEMORY
    return tempfile.gettempdir()


def _make_private(path: str) -> None:
    """A folder that only this user can enter. Its name can be guessed: one that is there already may be a trap."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    with contextlib.suppress(FileNotFoundError):
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise PermissionError(f"{path} exists and is not a private folder of this user")


def _open(path: str, create: bool) -> int:
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)


def _lock(path: str, how: int, create: bool = True) -> int:
    """A descriptor of the file that is at `path` once the lock is held."""
    # lockf, not flock: a forked worker does not inherit it. It is lost when this process closes any descriptor of the
    # file, so that there is never more than one.
    while True:
        fd = _open(path, create)
        try:
            fcntl.lockf(fd, how)
        except BaseException:
            os.close(fd)
            raise
        if _is_at(fd, path):
            return fd
        os.close(fd)


def _try_exclusive(fd: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _release(path: str, fd: int, heads: list[str], pid: int) -> None:
    if pid != os.getpid():  # a forked worker ends: the file is its parent's
        return
    for unwanted in (*heads, *([path] if _is_last(fd, path) else [])):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unwanted)
    os.close(fd)


def _leave(path: str, fd: int, pid: int) -> None:
    if pid != os.getpid():
        return
    if _is_last(fd, os.path.join(path, _ALIVE)):
        _remove(path)
    os.close(fd)


def _is_last(fd: int, path: str) -> bool:
    """Whether no other process holds a lock on the file any more; then this one holds it alone."""
    fcntl.lockf(fd, fcntl.LOCK_UN)  # first: of two that go at one time, each would wait for the other to be gone
    return _try_exclusive(fd) and _is_at(fd, path)


def _remove(path: str) -> None:
    """The folder, and the one of the same name on disk; the life lock goes last."""
    disk = os.path.join(tempfile.gettempdir(), os.path.basename(path))
    if disk != path:
        shutil.rmtree(disk, ignore_errors=True)
    with contextlib.suppress(OSError):
        _empty(path)
        os.unlink(os.path.join(path, _ALIVE))
        os.rmdir(path)


def _empty(path: str) -> None:
    for entry in os.scandir(path):
        if entry.name != _ALIVE:
            os.unlink(entry.path)


def _sweep() -> None:
    """Remove folders of this user in which no process lives."""
    own = {folder.path for (pid, _), folder in list(_folders.items()) if pid == os.getpid()}
    place, prefix = _best_place(), f"{_PREFIX}-{os.geteuid()}-"
    for name in os.listdir(place):
        path = os.path.join(place, name)
        if not name.startswith(prefix) or path in own:
            continue
        with contextlib.suppress(OSError):  # another process was faster
            if not os.path.exists(os.path.join(path, _ALIVE)):
                os.rmdir(path)  # killed on its way in or out; whoever is entering makes it again
                continue
            fd = _open(os.path.join(path, _ALIVE), create=False)
            if _try_exclusive(fd) and _is_at(fd, os.path.join(path, _ALIVE)):
                _remove(path)
            os.close(fd)


def _close_all_at_exit() -> None:
    global _closes_at_exit_of
    if _closes_at_exit_of != os.getpid():
        _closes_at_exit_of = os.getpid()
        # Not atexit, which processes of multiprocessing leave out.
        util.Finalize(None, _close_all, exitpriority=10)


def _close_all() -> None:
    owned: list[tuple[tuple[int, str], MappedFile | RunFolder]] = [*_files.items(), *_folders.items()]
    for (pid, _), item in owned:
        left = item.close.detach() if pid == os.getpid() else None  # the call itself does nothing by now
        if left is not None:
            left[1](*left[2])
