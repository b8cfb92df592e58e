"""The single-file checkpoint: tensors and plain data in a torch zip, written atomically and verified when read."""

from __future__ import annotations

import io
import os
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from trainwright.base.errors import CheckpointError, CheckpointNotFoundError, SaveError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint.archive import check_sizes, check_table, checksums
from trainwright.checkpoint.bounds import check_tree
from trainwright.checkpoint.foreign import is_bare_pickle, read_foreign
from trainwright.checkpoint.pickles import PickleError
from trainwright.checkpoint.trusted import read_trusted
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
    publish(path, lambda file: save_plain(plain, file), check=_read_again)


def save_plain(plain: Any, file: BinaryIO) -> None:
    """``torch.save``, but an error of the storage is raised as it is: torch hides it behind one of its own."""
    try:
        torch.save(plain, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


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
    except Exception as error:
        raise SaveError(
            f"a checkpoint was written and could not be read again ({_reason(error)}), so it was not published"
        ) from error


def read_file(path: str | os.PathLike[str], map_location: MapLocation = "cpu", trusted: bool = False) -> dict[str, Any]:
    """The tree at ``path`` (a local path or an fsspec URL), its checksums verified, read without running any code.

    Objects of MMEngine, MMCV, detectron2 and NumPy become tensors and plain data; for others ``trusted=True`` must say
    that the file may run code. Raises CheckpointError for a file that is missing, empty, truncated, damaged, or that
    holds objects.
    """
    path = os.fspath(path)
    source = _open_source(path)
    return _checked_tree(path, source, read_value(path, source, map_location, trusted))


def read_value(path: str, source: Any, map_location: MapLocation = "cpu", trusted: bool = False) -> Any:
    """Whatever ``torch.save`` wrote into ``source``, a local path or BytesIO that is called ``path`` in errors; as
    :func:`read_file`, with no check that it is a dict."""
    if not _is_archive(path, source):
        return _unpickled(path, source, map_location, trusted)
    entries = check_table(path, source)
    with checksums(path, source, entries):
        return _unpickled(path, source, map_location, trusted)


def _unpickled(path: str, source: Any, map_location: MapLocation, trusted: bool) -> Any:
    _rewind(source)
    try:
        if is_bare_pickle(_head(source)) and not _is_legacy(source):
            return _bare(path, source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle protocol that torch cannot read safely; ours can
            return torch.load(source, map_location=map_location, weights_only=True)
    except (pickle.UnpicklingError, MemoryError):  # torch makes a bytearray as long as a pickle says; ours does not
        return _with_objects(path, source, map_location, trusted)
    except (CheckpointError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise CheckpointError(f"{path!r} is not a checkpoint that torch can read: {_reason(error)}.") from error


def _with_objects(path: str, source: Any, map_location: MapLocation, trusted: bool) -> Any:
    """A file that holds more than tensors and plain data: read as data, or as its maker says if that is trusted."""
    _rewind(source)
    try:
        return read_foreign(path, source, map_location)
    except PickleError as error:
        if trusted:
            _rewind(source)
            return read_trusted(path, source, map_location)
        raise CheckpointError(
            f"checkpoint {path!r} was refused: it holds Python objects besides tensors and plain data, and reading "
            f"those would run code ({error}). Save its state_dict alone with torch.save and load that with load_from; "
            "or, if you trust whoever made the file with all that you may do on this machine, say trusted=True "
            "(trust_checkpoint=True in a config, --trust-checkpoint on the command line)."
        ) from error


def _bare(path: str, source: Any) -> Any:
    """A pickle without any frame, as detectron2's model zoo has them: taken for a checkpoint if it holds arrays."""
    try:
        tree = read_foreign(path, source, should_tell=False)
        if _holds_tensors(tree):
            return tree
        why = "it holds no arrays"
    except PickleError as error:
        why = str(error)
    raise CheckpointError(
        f"{path!r} is no checkpoint: torch.save makes a zip archive, and this file begins with {_head(source)[:8]!r}; "
        f"nor is it a pickle of arrays, as detectron2's are ({why})."
    )


def _holds_tensors(tree: Any) -> bool:
    values = list(tree.values()) if isinstance(tree, dict) else []
    values += [inner for value in values if isinstance(value, dict) for inner in value.values()]
    return any(isinstance(value, torch.Tensor) for value in values)


def _checked_tree(path: str, source: Any, tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{path!r} is not a checkpoint: it holds a {type(tree).__name__}, not a dict of weights or of training "
            "state."
        )
    check_tree(path, tree, os.path.getsize(source) if isinstance(source, str) else source.getbuffer().nbytes)
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
    elif not _is_legacy(source):
        _bare(path, source)


def read_meta(path: str) -> dict[str, Any]:
    """The ``meta`` of a local checkpoint; tensors are mapped, not read. Raises CheckpointError when there is none."""
    try:
        try:
            tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError:
            tree = read_foreign(path, path, "meta", should_tell=False)
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
        raise CheckpointNotFoundError(f"checkpoint {path!r} does not exist{where}.{did_you_mean(file.name, names)}")
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
        raise CheckpointNotFoundError(f"checkpoint {path!r} does not exist.")


def _empty(path: str) -> str:
    return f"checkpoint {path!r} is empty (0 bytes): the save that made it was cut off. Use an older checkpoint."


def _is_archive(path: str, source: Any) -> bool:
    """Whether this is torch's zip format; False for the one before torch 1.6 and for a bare pickle, which have no sums.
    Others are refused."""
    head = _head(source)
    if head.startswith(b"PK"):
        return True
    if is_bare_pickle(head):
        return False
    raise CheckpointError(
        f"{path!r} is no checkpoint: torch.save makes a zip archive, and this file begins with {head[:8]!r}."
    )


def _is_legacy(source: Any) -> bool:
    return _LEGACY_MAGIC in _head(source)


def _rewind(source: Any) -> None:
    if not isinstance(source, str):
        source.seek(0)


def _head(source: Any) -> bytes:
    if isinstance(source, io.BytesIO):
        return bytes(source.getbuffer()[:16])
    with open(source, "rb") as file:
        return file.read(16)
