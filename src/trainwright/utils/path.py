"""Files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def is_filepath(x: Any) -> bool:
    return isinstance(x, (str, Path))


def is_abs(path: str) -> bool:
    """Whether the path begins at a root: of this machine, or of a storage by URL (`s3://...`)."""
    from trainwright.io import is_url  # it takes longer to import than all the rest here

    return os.path.isabs(path) or is_url(path)


def fopen(filepath: Any, *args: Any, **kwargs: Any) -> Any:
    if not is_filepath(filepath):
        raise ValueError(f"filepath must be a str or a Path, got {filepath!r} of type {type(filepath).__name__}")
    return open(filepath, *args, **kwargs)


def check_file_exist(filename: Any, msg_tmpl: str = 'file "{}" does not exist') -> None:
    if not os.path.isfile(filename):
        raise FileNotFoundError(msg_tmpl.format(filename))


def mkdir_or_exist(dir_name: Any, mode: int = 0o777) -> None:
    if dir_name != "":
        os.makedirs(os.path.expanduser(dir_name), mode=mode, exist_ok=True)


def symlink(src: Any, dst: Any, overwrite: bool = True, **kwargs: Any) -> None:
    if overwrite and os.path.lexists(dst):
        os.remove(dst)
    os.symlink(src, dst, **kwargs)


def scandir(
    dir_path: str | Path,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    case_sensitive: bool = True,
) -> Iterator[str]:
    """The files of a folder by their paths in it, hidden ones left out; those below it too if `recursive`."""
    if not isinstance(dir_path, (str, Path)):
        raise TypeError(f"dir_path must be a str or a Path, got {dir_path!r} of type {type(dir_path).__name__}")
    if suffix is not None and not isinstance(suffix, (str, tuple)):
        raise TypeError(f"suffix must be a str or a tuple of str, got {suffix!r} of type {type(suffix).__name__}")
    if suffix is not None and not case_sensitive:
        suffix = suffix.lower() if isinstance(suffix, str) else tuple(item.lower() for item in suffix)
    return _scan(str(dir_path), str(dir_path), suffix, recursive, case_sensitive)


def _scan(root: str, folder: str, suffix: Any, recursive: bool, case_sensitive: bool) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_file() and not entry.name.startswith("."):
            path = os.path.relpath(entry.path, root)
            if suffix is None or (path if case_sensitive else path.lower()).endswith(suffix):
                yield path
        elif recursive and entry.is_dir():
            yield from _scan(root, entry.path, suffix, recursive, case_sensitive)


def find_vcs_root(path: Any, markers: tuple[str, ...] = (".git",)) -> str | None:
    """The nearest folder at or above `path` that holds one of the markers."""
    start: str = os.path.abspath(os.path.expanduser(path))
    if os.path.isfile(start):
        start = os.path.dirname(start)
    for folder in (start, *map(str, Path(start).parents)):
        if any(os.path.exists(os.path.join(folder, marker)) for marker in markers):
            return folder
    return None
