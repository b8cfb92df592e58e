"""Annotation records as bytes in one mapped file, which all processes of a node share.

The layout is MMEngine's: the pickled records (protocol 4) one behind the other, and where each ends.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pickle
import shutil
import uuid
from array import array
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from trainwright.base.errors import DataError
from trainwright.base.logs import print_log
from trainwright.data.node_files import MappedArray, MappedFile, RunFolder

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
_BLOCK = 1 << 22


def pack(record: Any) -> bytes:
    """`record` as bytes; ``unpack`` reverses it."""
    return pickle.dumps(record, protocol=4)


def unpack(data: Any) -> Any:
    """What ``pack`` made, from any buffer.

    For bytes that a process of this run has packed, as they come from a mapping that no other user can write: torch's
    loader hands samples from process to process in the same way. Nothing that was read from elsewhere may come here.
    """
    return pickle.loads(data)


def store_records(records: Sequence[Any], run: str) -> Arrays:
    """(data_bytes, data_address) of `records`, mapped from a file of the run `run` that is named by its content.

    Processes that store the same records share one file. Where none can be written they stay in memory, each process
    its own, with a warning.
    """
    if not records:
        return np.empty(0, np.uint8), np.empty(0, np.int64)
    try:
        folder = RunFolder.open(run)
        return _mapped(records, folder)
    except OSError as error:
        print_log(
            f"the annotations cannot be shared between processes, every one keeps its own: {error}", "current", 30
        )
    blocks = [_packed(record, at) for at, record in enumerate(records)]
    ends = np.cumsum(np.fromiter(map(len, blocks), np.int64, len(blocks)))
    return np.frombuffer(b"".join(blocks), np.uint8), ends


def arrays_of(file: MappedFile, n_bytes: int, n_records: int) -> tuple[MappedArray, MappedArray]:
    """(data_bytes, data_address) in `file`."""
    return file.array(0, n_bytes, "u1"), file.array(_aligned(n_bytes), n_records, "i8")


def _mapped(records: Sequence[Any], folder: RunFolder) -> Arrays:
    writer = _Writer(folder)
    try:
        n_bytes = writer.write_all(records)
        name = f"{writer.digest.hexdigest()}.data"
        with folder.locked(name):
            file = _stored(folder, name) or writer.publish(folder, name)
    finally:
        writer.discard()
    return arrays_of(file, n_bytes, len(records))


def _stored(folder: RunFolder, name: str) -> MappedFile | None:
    for place in folder.places():
        with contextlib.suppress(FileNotFoundError):
            return MappedFile.open(os.path.join(place, name), folder)
    return None


class _Writer:
    """Writes to the first place; moves to the next one when that has no more room."""

    def __init__(self, folder: RunFolder) -> None:
        self.places = folder.places()
        self.digest = hashlib.blake2b(digest_size=16)
        self.name = f"{uuid.uuid4().hex}.part"
        self._enter(self.places.pop(0))

    def _enter(self, place: str) -> None:
        self.path = os.path.join(place, self.name)
        self.file: BinaryIO = open(self.path, "xb", opener=_private)  # noqa: SIM115 - closed by publish or discard
        # Batches of loaders pass through the same memory: half of what is free is left to them.
        self.room = shutil.disk_usage(place).free // 2

    def write_all(self, records: Sequence[Any]) -> int:
        """Number of bytes of the records, behind which their ends are written."""
        ends, at, block = array("q"), 0, bytearray()
        for n, record in enumerate(records):
            packed = _packed(record, n)
            at += len(packed)
            ends.append(at)
            block += packed
            if len(block) >= _BLOCK:
                self._write(block)
                block = bytearray()
        self._write(block + bytes(_aligned(at) - at))
        self._write(memoryview(ends).cast("B"))
        return at

    def _write(self, block: Any) -> None:
        self.digest.update(block)
        if self.places and self.file.tell() + len(block) > self.room:
            self._move()
        try:
            self.file.write(block)
            self.file.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC or not self.places:
                raise
            raise OSError(errno.ENOSPC, f"{os.path.dirname(self.path)} became full while it was written") from error

    def _move(self) -> None:
        full = self.path
        self.file.close()
        try:
            self._enter(self.places.pop(0))
            with open(full, "rb") as source:
                shutil.copyfileobj(source, self.file, _BLOCK)
        finally:
            os.unlink(full)

    def publish(self, folder: RunFolder, name: str) -> MappedFile:
        """The file under its `name`, open."""
        self.file.close()
        path = os.path.join(os.path.dirname(self.path), name)
        os.rename(self.path, path)
        return MappedFile.open(path, folder)

    def discard(self) -> None:
        """Remove what was not published."""
        self.file.close()
        if os.path.exists(self.path):
            os.unlink(self.path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // 8) * 8


def _packed(record: Any, index: int) -> bytes:
    try:
        return pack(record)
    except Exception as error:
        raise DataError(
            f"annotation {index} cannot be stored as bytes: {type(error).__name__}: {error}. Annotations are plain "
            "data, or objects that can be pickled; what opens files or holds functions belongs into the pipeline. "
            "serialize_data=False keeps the objects as they are, in each process"
        ) from error
