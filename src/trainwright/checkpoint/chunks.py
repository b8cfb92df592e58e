"""Which part of a tensor a process holds, and a tensor put together from such parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Chunk:
    """A box of a tensor: where it begins in it, its extent, and the file that has it."""

    offset: tuple[int, ...]
    shape: tuple[int, ...]
    file: str = ""


def local_chunk(tensor: Tensor) -> tuple[Chunk, Tensor] | None:
    """The part of ``tensor`` that this process is to write, and where it belongs; None when it is another's.

    Of a plain tensor every rank has the whole: rank 0 writes it. Of a sharded one (DTensor) each rank writes its shard,
    and of what is repeated along a dimension of the mesh, the first there does.
    """
    if not is_sharded(tensor):
        return Chunk((0,) * tensor.dim(), tuple(tensor.shape)), tensor
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    parts: Any = tensor
    coordinate = parts.device_mesh.get_coordinate()
    if coordinate is None or any(
        at and placement.is_replicate() for at, placement in zip(coordinate, parts.placements, strict=True)
    ):
        return None
    shape, offset = compute_local_shape_and_global_offset(tensor.shape, parts.device_mesh, parts.placements)
    local = parts.to_local()
    return Chunk(tuple(offset), tuple(shape)), local


def is_sharded(tensor: Tensor) -> bool:
    """Whether each process has a part of it only."""
    return hasattr(tensor, "device_mesh")


def assembled(wanted: Chunk, chunks: Iterable[tuple[Chunk, Any]], dtype: torch.dtype) -> Tensor:
    """The box ``wanted`` of a tensor, from the chunks that overlap it. Of each, ``source[slices]`` gives numbers.

    Raises LookupError when the chunks leave a gap.
    """
    result = torch.empty(wanted.shape, dtype=dtype)
    n_found = 0
    for chunk, source in chunks:
        box = _overlap(wanted, chunk)
        if box is None:
            continue
        there = _slices(box, wanted.offset)
        result[there] = source[_slices(box, chunk.offset)]
        n_found += result[there].numel()
    if n_found != result.numel():
        raise LookupError(f"{n_found:,} of {result.numel():,} numbers are there")
    return result


def _overlap(one: Chunk, other: Chunk) -> list[tuple[int, int]] | None:
    box = []
    for (a, n), (b, m) in zip(_edges(one), _edges(other), strict=True):
        start, end = max(a, b), min(a + n, b + m)
        if start >= end:
            return None
        box.append((start, end))
    return box


def _edges(chunk: Chunk) -> Iterator[tuple[int, int]]:
    return zip(chunk.offset, chunk.shape, strict=True)


def _slices(box: list[tuple[int, int]], origin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(start - at, end - at) for (start, end), at in zip(box, origin, strict=True))
