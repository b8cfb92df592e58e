"""Write new, flush, fsync, rename, fsync the folder: a reader sees the old file or the whole new one, never a part."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from trainwright.base.errors import WorkDirError

TMP_PREFIX = ".tmp-"


def fsync_dir(folder: Path) -> None:
    """Make the names in ``folder`` durable (a rename alone may be undone by a power loss)."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def temporary(path: str | os.PathLike[str]) -> Path:
    """A name beside ``path`` that nobody has used, and that :data:`TMP_PREFIX` shows to be temporary."""
    target = Path(path)
    # A file system allows 255 bytes to a name, so that one which is nearly as long is cut.
    name = target.name if len(os.fsencode(target.name)) < 200 else target.name[:50]
    return target.with_name(f"{TMP_PREFIX}{name}-{uuid.uuid4().hex}")


def write_durably(path: Path, write: Callable[[BinaryIO], None], is_durable: bool = True) -> None:
    """Create ``path``, which must not exist, let ``write`` fill it, flush and fsync: its content, not yet its name."""
    with open(path, "xb") as file:
        write(file)
        file.flush()
        if is_durable:
            os.fsync(file.fileno())


def publish(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], None],
    check: Callable[[Path], None] | None = None,
    is_durable: bool = True,
) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then publish it under ``path`` atomically and durably.

    Order: create under a unique name, write, flush, fsync, ``check`` the file, rename, fsync the folder. On any error
    the temporary file is removed, what stood at ``path`` stays, and the error is raised. A failed fsync is final for
    that file: Linux drops the error after reporting it once, so a retry must start from a new file.

    With `is_durable` False nothing waits for the disk: a kill leaves the old file or the new one, a power loss may not.
    """
    target, tmp = Path(path), temporary(path)
    try:
        write_durably(tmp, write, is_durable)
        if check is not None:
            check(tmp)
        os.replace(tmp, target)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    if is_durable:
        fsync_dir(target.parent)


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Publish ``data`` at ``path``; see :func:`publish`."""

    def write(file: BinaryIO) -> None:
        file.write(data)

    publish(path, write)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Publish ``text`` as UTF-8 at ``path``; see :func:`publish`."""
    atomic_write_bytes(path, text.encode("utf-8"))


def writable_dir(path: str | os.PathLike[str], knob: str) -> Path:
    """Make ``path`` a folder that can be written, or raise :class:`WorkDirError` naming the ``knob`` to turn.

    A probe file is written and removed: permission bits alone say nothing on read-only or full file systems.
    """
    folder = Path(path).expanduser().absolute()
    probe = folder / f"{TMP_PREFIX}probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"x")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise WorkDirError(
            f"{knob} {str(folder)!r} cannot be written: {error.strerror or error}. Checkpoints and logs go there, "
            f"so the run was not started. Choose another folder with {knob}=... or mend its permissions."
        ) from error
    return folder
