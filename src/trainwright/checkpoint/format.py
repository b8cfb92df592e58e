"""The single-file checkpoint: tensors and plain data in a torch zip, written atomically and verified when read."""

from __future__ import annotations

import io
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import CheckpointError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint.archive import check_sizes, check_table, checksums
from trainwright.io import is_url, publish, read_bytes, url_exists
from trainwright.state import NotPlainError, to_plain

# The number that torch's format before 1.6 begins with, as it is pickled.
_LEGACY_MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)[2:-1]

MapLocation = str | torch.device | Callable[[Any, str], Any] | dict[str, str] | None


def write_file(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Publish ``tree`` at ``path``: the old file or the whole new one is there, at every moment.

    Raises CheckpointError naming the place of a value that is neither a tensor nor plain data, before anything is
    written; OSError when the disk refuses, with nothing left behind. The file is read again, without its tensors,
    before it is published: what cannot be read safely is never left to be found at a resume.
    """
    plain = plain_tree(path, tree)
    publish(path, lambda file: torch.save(plain, file), check=_read_again)


def plain_tree(path: str | os.PathLike[str], tree: Any) -> Any:
    """``tree`` as tensors and plain data, or a CheckpointError that says where something else stands."""
    try:
        return to_plain(tree)
    except NotPlainError as error:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} was not written: {error}. A checkpoint holds tensors and plain data only, "
            "so that reading it never runs code. Convert the value in the state_dict() or before_save_checkpoint() "
            "that put it there."
        ) from error


def _read_again(written: Path) -> None:
    try:
        check_table(str(written), str(written))
        torch.load(written, map_location="cpu", weights_only=True, mmap=True)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"a checkpoint was written and could not be read again ({_reason(error)}), so it was not published"
        ) from error


def read_file(path: str | os.PathLike[str], map_location: MapLocation = "cpu") -> dict[str, Any]:
    """The tree at ``path`` (a local path or an fsspec URL), its checksums verified, read without running any code.

    Raises CheckpointError for a file that is missing, empty, truncated, damaged, foreign, or that holds objects.
    """
    path = os.fspath(path)
    source = _open_source(path)
    if not _is_archive(path, source):
        return _checked_tree(path, source, _unpickled(path, source, map_location))
    entries = check_table(path, source)
    with checksums(path, source, entries):
        tree = _unpickled(path, source, map_location)
    return _checked_tree(path, source, tree)


def _unpickled(path: str, source: Any, map_location: MapLocation) -> Any:
    if not isinstance(source, str):
        source.seek(0)
    try:
        return torch.load(source, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"checkpoint {path!r} was refused: it holds Python objects besides tensors and plain data, and reading "
            f"those would run code ({_reason(error)}). Save its state_dict alone with torch.save and load that with "
            "load_from."
        ) from error
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise CheckpointError(f"{path!r} is not a checkpoint that torch can read: {_reason(error)}.") from error


def _checked_tree(path: str, source: Any, tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{path!r} is not a checkpoint: it holds a {type(tree).__name__}, not a dict of weights or of training "
            "state."
        )
    check_sizes(path, source, tree)
    return tree


def check_file(path: str) -> None:
    """Raise CheckpointError if it can be seen without reading the tensors that ``path`` is no whole checkpoint."""
    if is_url(path):
        _check_url(path)
        return
    source = _open_source(path)
    if _is_archive(path, source):
        check_table(path, source)


def read_meta(path: str) -> dict[str, Any]:
    """The ``meta`` of a local checkpoint; tensors are mapped, not read. Raises CheckpointError when there is none."""
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        meta = tree["meta"]
        int(meta["iter"])
    except Exception as error:
        raise CheckpointError(f"{path!r} has no readable training state: {_reason(error)}.") from error
    return dict(meta)


def _reason(error: Exception) -> str:
    """What torch says, in one line and without its advice to read unsafely."""
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused is not None:
        return f"it names {refused[1]}"
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _open_source(path: str) -> Any:
    if is_url(path):
        _check_url(path)
        data = read_bytes(path)
        if not data:
            raise CheckpointError(_empty(path))
        return io.BytesIO(data)
    file = Path(path)
    if file.is_dir():
        raise CheckpointError(f"checkpoint {path!r} is a folder; give the file in it.")
    if not file.is_file():
        names = [p.name for p in file.parent.glob("*.pth")] if file.parent.is_dir() else []
        where = f" in {str(file.parent)!r}" if file.parent.is_dir() else f": its folder {str(file.parent)!r} is missing"
        raise CheckpointError(f"checkpoint {path!r} does not exist{where}.{did_you_mean(file.name, names)}")
    if file.stat().st_size == 0:
        raise CheckpointError(_empty(path))
    return path


def _check_url(path: str) -> None:
    try:
        exists = url_exists(path)
    except (ImportError, OSError, ValueError) as error:  # a protocol that is unknown, or whose package is missing
        raise CheckpointError(
            f"checkpoint {path!r} cannot be reached: {_reason(error)}. Check the protocol, install the package that "
            "fsspec names for it, or copy the file here."
        ) from error
    if not exists:
        raise CheckpointError(f"checkpoint {path!r} does not exist.")


def _empty(path: str) -> str:
    return f"checkpoint {path!r} is empty (0 bytes): the save that made it was cut off. Use an older checkpoint."


def _is_archive(path: str, source: Any) -> bool:
    """Whether this is torch's zip format; False for the one before torch 1.6, which has no sums. Others are refused."""
    head = _head(source)
    if head.startswith(b"PK"):
        return True
    if _LEGACY_MAGIC in head:
        return False
    raise CheckpointError(
        f"{path!r} is no checkpoint: torch.save makes a zip archive, and this file begins with {head[:8]!r}."
    )


def _head(source: Any) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:16]
    with open(source, "rb") as file:
        return file.read(16)
