"""Files of tensors in the safetensors format, written as a stream with their checksum, and read in parts.

The format is a table in JSON and the bytes behind it (https://github.com/huggingface/safetensors). It is read by that
package. It is written here because a checksum must come from the bytes in memory, not from what the disk gives back,
and because a copy of all tensors in memory, which the package makes for it, may not fit.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

from trainwright.io import write_durably

_BITS = (8, 16, 32, 64)
_NAMES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    **{f"{kind}{bits}": f"{letter}{bits}" for kind, letter in (("int", "I"), ("uint", "U")) for bits in _BITS},
    **{f"float{bits}": f"F{bits}" for bits in _BITS[1:]},
}
DTYPES = {getattr(torch, name): text for name, text in _NAMES.items() if hasattr(torch, name)}
_ALIGNED = 8
_MAX_WAITING = 8


class FileSum(NamedTuple):
    """What a file must be: its size in bytes and the sha256 of its content."""

    size: int
    sha256: str


class SummedFile:
    """A file being written, and the sha256 of what was handed over."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sum = hashlib.sha256()
        self._pool = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()
        self._size = 0

    def write(self, data: Any) -> int:
        """Write bytes, whose memory may be used again right after."""
        self._finish(0)
        self._sum.update(data)
        self._file.write(data)
        self._size += len(data)
        return len(data)

    def write_kept(self, data: Any) -> None:
        """Write bytes that stay as they are: a thread sums them up beside the writing."""
        if len(data):
            self._waiting.append(self._pool.submit(self._sum.update, data))
            self._file.write(data)
            self._size += len(data)
            self._finish(_MAX_WAITING)

    def flush(self) -> None:
        """As a file's."""
        self._file.flush()

    def done(self) -> FileSum:
        """The sum of all that was written."""
        self._finish(0)
        self._pool.shutdown()
        return FileSum(self._size, self._sum.hexdigest())

    def _finish(self, n_left: int) -> None:
        while len(self._waiting) > n_left:
            self._waiting.popleft().result()


def write_summed(path: Path, write: Any) -> FileSum:
    """Create ``path`` durably from ``write(file)``; returns its size and checksum, from the bytes in memory."""
    sums: list[FileSum] = []

    def summed(file: BinaryIO) -> None:
        target = SummedFile(file)
        try:
            write(target)
        finally:
            sums.append(target.done())

    write_durably(path, summed)
    return sums[0]


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileSum:
    """Create a safetensors file durably. Tensors are dense and of a type in :data:`DTYPES`; they may lie on any device,
    and are copied to the host one by one."""
    table: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, tensor in tensors.items():
        end = at + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, end]}
        at = end
    head = json.dumps(table, separators=(",", ":")).encode()
    head += b" " * (-len(head) % _ALIGNED)

    def write(file: SummedFile) -> None:
        file.write(struct.pack("<Q", len(head)) + head)
        for tensor in tensors.values():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            file.write_kept(flat.view(torch.uint8).numpy().data)

    return write_summed(path, write)


def sum_of(path: Path) -> FileSum:
    """Size and sha256 of a file on the disk."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
        return FileSum(file.tell(), digest.hexdigest())


def _digest(file: BinaryIO) -> Any:  # Python 3.10
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest
