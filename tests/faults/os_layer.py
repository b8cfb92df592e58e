"""Everything that Python code changes below a folder, seen at the calls that go to the operating system.

Calls are recorded, or fail, or end the process: an observer is asked before each. Files opened for writing get Python's
own buffer on top of a raw file that reports, so that what was written and not flushed is not on the disk yet.
"""

from __future__ import annotations

import builtins
import errno as error_numbers
import io
import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIED = 9
_LOGS = re.compile(r"\d{8}_\d{6}")  # a run writes its log into a folder, and its config into a file, of such a name
_NOT_MODELLED = (
    *("link", "symlink", "truncate", "ftruncate", "posix_fallocate"),
    *("sendfile", "copy_file_range", "pwrite", "writev", "pwritev"),
)


@dataclass(frozen=True)
class Op:
    """One call. Paths are below the watched folder; of a rename `other` is where it goes to."""

    kind: str  # create write fsync fsync_dir rename unlink mkdir rmdir truncate; mark: no call, said by the test
    path: str
    other: str = ""
    offset: int = 0
    data: bytes = b""

    def __str__(self) -> str:
        return f"{self.kind} {self.path}{' -> ' + self.other if self.other else ''}"


class Observer:
    """Is told of every call."""

    def before(self, op: Op) -> None:
        """May raise, or end the process."""

    def after(self, op: Op) -> None:
        """The call has been made."""


class Recorder(Observer):
    """Keeps the calls in order."""

    def __init__(self) -> None:
        self.ops: list[Op] = []

    def after(self, op: Op) -> None:
        """Keep it."""
        self.ops.append(op)

    def mark(self, text: str) -> None:
        """Note that something has happened between two calls."""
        self.ops.append(Op("mark", text))


class DieAt(Observer):
    """Ends the process right before call number `nth` (from 0). With `torn_below`, the watched folder, half of the
    bytes of that write are written before."""

    def __init__(self, nth: int, torn_below: str | os.PathLike[str] | None = None) -> None:
        self.nth, self.torn_below, self.n_seen = nth, torn_below, 0

    def before(self, op: Op) -> None:
        """Die, when it is time."""
        if self.n_seen < self.nth or (self.torn_below is not None and op.kind != "write"):
            return
        if self.torn_below is not None:
            with io.FileIO(os.path.join(self.torn_below, op.path), "r+") as file:
                file.seek(op.offset)
                file.write(op.data[: len(op.data) // 2])
        os._exit(DIED)

    def after(self, op: Op) -> None:
        """Count. A call that failed, as a mkdir of what is there already, does not count: it changed nothing."""
        self.n_seen += 1


class FailAt(Observer):
    """Makes the calls for which `chosen` holds fail with an error of the operating system, from the `nth` (from 0) on,
    `times` of them."""

    def __init__(
        self, chosen: Callable[[Op], bool], errno: int = error_numbers.EIO, nth: int = 0, times: int = 1
    ) -> None:
        self.chosen, self.errno, self.nth, self.times = chosen, errno, nth, times
        self.n_seen = self.n_failed = 0

    def before(self, op: Op) -> None:
        """Raise where it is due."""
        if not self.chosen(op):
            return
        self.n_seen += 1
        if self.n_seen > self.nth and self.n_failed < self.times:
            self.n_failed += 1
            raise OSError(self.errno, os.strerror(self.errno), op.path)


class _Layer:
    """The calls of `os` and `open` as this process had them, and the ones that report."""

    def __init__(self, root: Path, observer: Observer) -> None:
        self.root, self.observer = str(root.resolve()), observer
        self.real = {name: getattr(os, name) for name in _REPLACED}
        self.open = builtins.open
        self.lock = threading.RLock()

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """The path below the watched folder; None for one that is elsewhere, or belongs to the log."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
            if not path.startswith(os.sep):  # a pipe, a socket
                return None
        elif dir_fd is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
        path = os.path.abspath(os.fspath(path))
        if not isinstance(path, str) or not (path == self.root or path.startswith(self.root + os.sep)):
            return None
        relative = os.path.relpath(path, self.root)
        return None if _LOGS.match(relative) or relative == ".lock" else relative

    def call(self, op: Op, do: Callable[[], Any]) -> Any:
        with self.lock:
            self.observer.before(op)
            result = do()
            self.observer.after(op)
            return result


class _RawFile(io.FileIO):
    """A file without a buffer that reports its writes."""

    def __init__(self, layer: _Layer, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        self._layer, self._inside_path = layer, str(layer.inside(file))
        self._appends = "a" in mode
        init = super().__init__
        exists = isinstance(file, int) or os.path.exists(file)
        if exists and ("w" not in mode or isinstance(file, int)):
            init(file, mode, closefd, opener)
        else:
            layer.call(
                Op("truncate" if exists else "create", self._inside_path), lambda: init(file, mode, closefd, opener)
            )

    def write(self, data: Any) -> int:
        view = bytes(data)
        at = os.fstat(self.fileno()).st_size if self._appends else self.tell()
        op = Op("write", self._inside_path, offset=at, data=view)
        write = super().write
        return int(self._layer.call(op, lambda: write(view)))


class LazyBuffer(io.BufferedWriter):
    """A buffer whose flush is forgotten until the file is closed, as if nobody had called it."""

    _closing = False

    def flush(self) -> None:
        if self._closing:
            super().flush()

    def close(self) -> None:
        self._closing = True
        super().close()


def _opening(layer: _Layer, buffer: type[io.BufferedWriter]) -> Callable[..., Any]:
    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        writes = set(mode) & set("wxa+")
        if not writes or layer.inside(file) is None:
            return layer.open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _RawFile(layer, file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        stream: Any = io.BufferedRandom(raw) if "+" in mode else buffer(raw)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding, errors, newline)

    return opened


def _one_path(layer: _Layer, name: str, kind: str) -> Callable[..., Any]:
    real = layer.real[name]

    def changed(path: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> Any:
        given = {**kwargs, **({} if dir_fd is None else {"dir_fd": dir_fd})}
        inside = layer.inside(path, dir_fd)
        if inside is None:
            return real(path, *args, **given)
        return layer.call(Op(kind, inside), lambda: real(path, *args, **given))

    return changed


def _moving(layer: _Layer, name: str) -> Callable[..., Any]:
    real = layer.real[name]

    def moved(src: Any, dst: Any, **kwargs: Any) -> Any:
        one, other = layer.inside(src), layer.inside(dst)
        if one is None and other is None:
            return real(src, dst, **kwargs)
        assert one is not None, f"{dst} came from outside the watched folder"
        assert other is not None, f"{src} went out of the watched folder"
        return layer.call(Op("rename", one, other), lambda: real(src, dst, **kwargs))

    return moved


def _syncing(layer: _Layer, name: str) -> Callable[[Any], None]:
    real = layer.real[name]

    def synced(file: Any) -> None:
        fd = file if isinstance(file, int) else file.fileno()
        inside = layer.inside(fd)
        if inside is None:
            real(fd)
        else:
            kind = "fsync_dir" if os.path.isdir(os.path.join(layer.root, inside)) else "fsync"
            layer.call(Op(kind, inside), lambda: real(fd))

    return synced


def _opening_fd(layer: _Layer) -> Callable[..., int]:
    real = layer.real["open"]

    def opened(path: Any, flags: int, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> int:
        given = {**kwargs, **({} if dir_fd is None else {"dir_fd": dir_fd})}
        inside = layer.inside(path, dir_fd) if flags & os.O_CREAT else None
        if inside is None or os.path.exists(path):
            return int(real(path, flags, *args, **given))
        return int(layer.call(Op("create", inside), lambda: real(path, flags, *args, **given)))

    return opened


def _writing_fd(layer: _Layer) -> Callable[[int, Any], int]:
    real = layer.real["write"]

    def written(fd: int, data: Any) -> int:
        inside = layer.inside(fd)
        if inside is None:
            return int(real(fd, data))
        op = Op("write", inside, offset=os.lseek(fd, 0, os.SEEK_CUR), data=bytes(data))
        return int(layer.call(op, lambda: real(fd, data)))

    return written


def _refusing(layer: _Layer, name: str) -> Callable[..., Any]:
    real = layer.real[name]

    def refused(*args: Any, **kwargs: Any) -> Any:
        for value in args[:2]:
            if isinstance(value, (str, os.PathLike, int)) and not isinstance(value, bool):
                path = f"/proc/self/fd/{value}" if isinstance(value, int) else value
                if os.path.exists(path) and layer.inside(os.path.realpath(path)) is not None:
                    raise AssertionError(
                        f"os.{name} is used below the watched folder, and the fault suite is blind to it"
                    )
        return real(*args, **kwargs)

    return refused


_PATHS = {"unlink": "unlink", "remove": "unlink", "mkdir": "mkdir", "rmdir": "rmdir"}
_REPLACED = (*_PATHS, "rename", "replace", "fsync", "fdatasync", "open", "write", *_NOT_MODELLED)


def _replacements(layer: _Layer) -> dict[str, Callable[..., Any]]:
    new: dict[str, Callable[..., Any]] = {name: _one_path(layer, name, kind) for name, kind in _PATHS.items()}
    new.update({name: _moving(layer, name) for name in ("rename", "replace")})
    new.update({name: _syncing(layer, name) for name in ("fsync", "fdatasync")})
    new.update({name: _refusing(layer, name) for name in _NOT_MODELLED})
    return {**new, "open": _opening_fd(layer), "write": _writing_fd(layer)}


@contextmanager
def watched(
    root: str | os.PathLike[str], observer: Observer, buffer: type[io.BufferedWriter] = io.BufferedWriter
) -> Iterator[_Layer]:
    """Within the block `observer` is asked before each call that changes something below `root`, and told after it.

    A path that Python 3.10's pathlib changes by itself is seen too. What C++ code writes is not: compare the disk with
    the recorded calls (`disk_model`), which then differ.
    """
    layer = _Layer(Path(root), observer)
    new = _replacements(layer)
    accessor: Any = getattr(pathlib, "_NormalAccessor", None)  # Python 3.10: it keeps the functions it found at import
    kept = {name: accessor.__dict__[name] for name in (*new, "open") if accessor and name in accessor.__dict__}
    opened = _opening(layer, buffer)
    for name, function in new.items():
        setattr(os, name, function)
    builtins.open = io.open = opened
    for name in kept:
        setattr(accessor, name, staticmethod(opened if name == "open" else new[name]))
    try:
        yield layer
    finally:
        for name, function in layer.real.items():
            setattr(os, name, function)
        builtins.open = io.open = layer.open
        for name, function in kept.items():
            setattr(accessor, name, function)
