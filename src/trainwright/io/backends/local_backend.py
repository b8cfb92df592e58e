"""The file system of this machine. What is written appears as a whole, by a rename."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from trainwright.io.atomic import publish, temporary
from trainwright.io.backends.base import BaseStorageBackend, encoded
from trainwright.io.backends.listing import check_listing

StrPath = str | Path


class LocalBackend(BaseStorageBackend):
    """Reads and writes files. Folders of a file that is written are made; a link is written through."""

    _allow_symlink = True

    def get(self, filepath: StrPath) -> bytes:
        """The bytes of a file."""
        with open(filepath, "rb") as file:
            return file.read()

    def get_text(self, filepath: StrPath, encoding: str = "utf-8") -> str:
        """The text of a file."""
        with open(filepath, encoding=encoding) as file:
            return file.read()

    def put(self, obj: bytes, filepath: StrPath) -> None:
        """Write bytes."""
        os.makedirs(os.path.dirname(filepath) or ".", exist_ok=True)
        replace(filepath, lambda file: file.write(obj))

    def put_text(self, obj: str, filepath: StrPath, encoding: str = "utf-8") -> None:
        """Write text."""
        self.put(encoded(obj, encoding), filepath)

    def exists(self, filepath: StrPath) -> bool:
        """Whether there is a file or folder."""
        return os.path.exists(filepath)

    def isdir(self, filepath: StrPath) -> bool:
        """Whether there is a folder."""
        return os.path.isdir(filepath)

    def isfile(self, filepath: StrPath) -> bool:
        """Whether there is a file."""
        return os.path.isfile(filepath)

    def join_path(self, filepath: StrPath, *filepaths: StrPath) -> str:
        """As `os.path.join`."""
        return str(os.path.join(filepath, *filepaths))

    @contextmanager
    def get_local_path(self, filepath: StrPath) -> Iterator[StrPath]:
        """The path itself."""
        yield filepath

    def copyfile(self, src: StrPath, dst: StrPath) -> Any:
        """Copy a file with its mode to `dst`, or into it if it is a folder; returns where it is. SameFileError for a
        file that is to be copied onto itself.
        """
        target = os.path.join(dst, os.path.basename(src)) if os.path.isdir(dst) else dst
        if os.path.exists(target) and os.path.samefile(src, target):
            raise shutil.SameFileError(f"{str(src)!r} and {str(target)!r} are the same file: give another dst")
        with open(src, "rb") as source:
            mode = os.fstat(source.fileno()).st_mode
            replace(target, lambda file: shutil.copyfileobj(source, file, 1 << 20), mode)
        return target

    def copytree(self, src: StrPath, dst: StrPath) -> Any:
        """Copy a folder to `dst`, which must not exist and appears when all is there."""
        if os.path.lexists(dst):
            raise FileExistsError(f"dst {str(dst)!r} exists: remove it first by rmtree, or give another dst")
        where = temporary(os.path.abspath(dst))
        try:
            shutil.copytree(src, where)
            os.rename(where, dst)
        except BaseException:
            shutil.rmtree(where, ignore_errors=True)
            raise
        return dst

    def copyfile_from_local(self, src: StrPath, dst: StrPath) -> Any:
        """As `copyfile`."""
        return self.copyfile(src, dst)

    def copytree_from_local(self, src: StrPath, dst: StrPath) -> Any:
        """As `copytree`."""
        return self.copytree(src, dst)

    def copyfile_to_local(self, src: StrPath, dst: StrPath) -> Any:
        """As `copyfile`."""
        return self.copyfile(src, dst)

    def copytree_to_local(self, src: StrPath, dst: StrPath) -> Any:
        """As `copytree`."""
        return self.copytree(src, dst)

    def remove(self, filepath: StrPath) -> None:
        """Delete a file; FileNotFoundError, IsADirectoryError."""
        if not self.exists(filepath):
            raise FileNotFoundError(f"filepath {filepath} does not exist")
        if self.isdir(filepath):
            raise IsADirectoryError(f"filepath should be a file, and {filepath} is a folder: rmtree deletes that")
        os.remove(filepath)

    def rmtree(self, dir_path: StrPath) -> None:
        """Delete a folder and all in it."""
        shutil.rmtree(dir_path)

    def copy_if_symlink_fails(self, src: StrPath, dst: StrPath) -> bool:
        """Make `dst` a link to `src`, or copy it where that cannot be; returns whether there is a link."""
        try:
            os.symlink(src, dst)
        except Exception:  # noqa: BLE001 - whatever a file system says that has no links, a copy is as good
            copy = self.copyfile if self.isfile(src) else self.copytree
            copy(src, dst)
            return False
        return True

    def list_dir_or_file(
        self,
        dir_path: StrPath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """The paths in a folder, relative to it, in any order. Files whose names begin with a dot are left out.
        `suffix` is for files, and wants `list_dir=False`.
        """
        check_listing(list_dir, suffix)
        return _listed(os.fspath(dir_path), "", list_dir, list_file, suffix, recursive)


def _listed(
    folder: str, inside: str, list_dir: bool, list_file: bool, suffix: str | tuple[str, ...] | None, recursive: bool
) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        path = os.path.join(inside, entry.name)
        if entry.is_dir():
            if list_dir:
                yield path
            if recursive:
                yield from _listed(entry.path, path, list_dir, list_file, suffix, recursive)
        elif list_file and _is_wanted(entry, suffix):
            yield path


def _is_wanted(entry: os.DirEntry[str], suffix: str | tuple[str, ...] | None) -> bool:
    is_shown = entry.is_file() and not entry.name.startswith(".")
    return is_shown and (suffix is None or entry.name.endswith(suffix))


def replace(filepath: StrPath, write: Callable[[BinaryIO], Any], mode: int | None = None) -> None:
    """Let `write` fill the file that is published at `filepath`, with the mode given or that of the file which was
    there. What is no ordinary file, such as a pipe or /dev/null, is opened and written.
    """
    target = os.path.realpath(filepath)
    before = os.stat(target) if os.path.exists(target) else None
    if before is not None and not stat.S_ISREG(before.st_mode):
        with open(target, "wb") as file:
            write(file)
        return
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(f"{target} must not be written: give it the permission, or choose another path")
    kept = mode if mode is not None or before is None else before.st_mode

    def fill(file: BinaryIO) -> None:
        if kept is not None:
            os.fchmod(file.fileno(), stat.S_IMODE(kept))
        write(file)

    parent = os.path.dirname(target)
    if before is None and not os.path.isdir(parent):  # which the system would say of the temporary file
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {parent}", str(filepath))
    # It waits for the disk, which takes far longer than writing a small file, only where something would be lost.
    publish(target, fill, is_durable=before is not None)
