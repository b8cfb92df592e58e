"""The single-file checkpoint: tensors and plain data in a torch zip, written atomically and verified when read."""

from __future__ import annotations

import io
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import CheckpointError
from trainwright.base.text import did_you_mean
from trainwright.io import is_url, publish, read_bytes, url_exists
from trainwright.state import NotPlainError, to_plain

# The number that torch's format before 1.6 begins with, as it is pickled.
_LEGACY_MAGIC = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)[2:-1]

MapLocation = str | torch.device | Callable[[Any, str], Any] | dict[str, str] | None


def write_file(path: str | os.PathLike[str], tree: dict[str, Any]) -> None:
    """Publish ``tree`` at ``path``: the old file or the whole new one is there, at every moment.

    Raises CheckpointError naming the place of a value that is neither a tensor nor plain data, before anything is
    written; OSError when the disk refuses, with nothing left behind.
    """
    try:
        plain = to_plain(tree)
    except NotPlainError as error:
        raise CheckpointError(
            f"the checkpoint {str(path)!r} was not written: {error}. A checkpoint holds tensors and plain data only, "
            "so that reading it never runs code. Convert the value in the state_dict() or before_save_checkpoint() "
            "that put it there."
        ) from error
    publish(path, lambda file: torch.save(plain, file))


def read_file(path: str | os.PathLike[str], map_location: MapLocation = "cpu") -> dict[str, Any]:
    """The tree at ``path`` (a local path or an fsspec URL), its checksums verified, read without running any code.

    Raises CheckpointError for a file that is missing, empty, truncated, damaged, foreign, or that holds objects.
    """
    path = os.fspath(path)
    source = _open_source(path)
    _verify(path, source)
    try:
        tree = torch.load(source, map_location=map_location, weights_only=True)
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
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{path!r} is not a checkpoint: it holds a {type(tree).__name__}, not a dict of weights or of training "
            "state."
        )
    return tree


def check_file(path: str) -> None:
    """Raise CheckpointError if it can be seen without reading the tensors that ``path`` is no whole checkpoint."""
    if is_url(path):
        _check_url(path)
        return
    _verify(path, _open_source(path), sums=False)


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


def _verify(path: str, source: Any, sums: bool = True) -> None:
    """Check the zip's table and every CRC: torch writes the sums but does not look at them when it loads."""
    head = _head(source)
    if not head.startswith(b"PK"):
        if _LEGACY_MAGIC in head:
            return  # torch's format before 1.6 has no sums
        raise CheckpointError(
            f"{path!r} is no checkpoint: torch.save makes a zip archive, and this file begins with {head[:8]!r}."
        )
    try:
        with zipfile.ZipFile(source) as archive:
            damaged = archive.testzip() if sums else None
            names = archive.namelist()
    except Exception as error:  # a damaged table makes zipfile raise almost anything
        raise CheckpointError(
            f"checkpoint {path!r} is truncated or damaged ({_reason(error)}): its copy or its save did not finish. "
            "Use an older checkpoint, or copy the file again."
        ) from error
    if damaged is not None:
        raise CheckpointError(
            f"checkpoint {path!r} is damaged: the checksum of its entry {damaged!r} does not match its bytes. "
            "Use an older checkpoint, or copy the file again."
        )
    if not any(name.endswith("/data.pkl") for name in names):
        raise CheckpointError(
            f"{path!r} is a zip archive, but no checkpoint: it has no 'data.pkl' that torch.save makes."
        )
    if not isinstance(source, str):
        source.seek(0)


def _head(source: Any) -> bytes:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:16]
    with open(source, "rb") as file:
        return file.read(16)
