"""Bringing the per-sample results of all ranks together, in the order of the dataset."""

from __future__ import annotations

import itertools
import os
import pickle
from typing import Any, TypeVar

import torch
from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError, DataError
from trainwright.dist.collectives import barrier, gather_object
from trainwright.dist.process import get_dist_info, get_world_size

T = TypeVar("T")
_ABSENT: Any = object()


def collect_results(results: list[T], size: int, device: str = "cpu", tmpdir: str | None = None) -> list[T] | None:
    """Per-sample `results` of all ranks in dataset order on rank 0; None on the other ranks.

    Ranks hold every world-size-th sample, so the parts are interleaved, and cut to `size`: what a sampler added to
    make the ranks even lies at the end. `device` 'cpu' gathers through main memory, 'gpu' through the device's
    backend. With `tmpdir` (a folder that all ranks see, 'cpu' only) the parts pass through files instead; these may
    hold tensors and plain data only.
    """
    if device not in ("cpu", "gpu"):
        raise ConfigError(f"collect_results: device must be 'cpu' or 'gpu', got {device!r}")
    if tmpdir is not None and device == "gpu":
        raise ConfigError("collect_results: tmpdir is for device='cpu'; drop tmpdir or set device='cpu'")
    if get_world_size() == 1:
        return results[:size]
    parts = _through_group(results, device) if tmpdir is None else _through_files(results, tmpdir)
    return None if parts is None else interleave(parts, size)


def interleave(parts: list[list[T]], size: int) -> list[T]:
    """The first `size` of parts[0][0], parts[1][0], ..., parts[0][1], ...; parts may differ in length."""
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*parts, fillvalue=_ABSENT))
    return list(itertools.islice((result for result in mixed if result is not _ABSENT), size))


def _through_group(results: list[T], device: str) -> list[list[T]] | None:
    backend = str(torch_dist.get_backend())
    if device == "gpu" or "gloo" in backend or not torch_dist.is_gloo_available():
        return gather_object(results)
    group = torch_dist.new_group(backend="gloo")  # the results stay off the device; gone again before the next call
    try:
        return gather_object(results, group=group)
    finally:
        torch_dist.destroy_process_group(group)


def _through_files(results: list[T], tmpdir: str) -> list[list[T]] | None:
    rank, world_size = get_dist_info()
    os.makedirs(tmpdir, exist_ok=True)
    paths = [os.path.join(tmpdir, f"part_{part}.pt") for part in range(world_size)]
    torch.save(results, paths[rank])
    barrier()
    try:
        return [_load_part(path) for path in paths] if rank == 0 else None
    finally:
        barrier()  # nobody writes the next results before these are read
        os.remove(paths[rank])


def _load_part(path: str) -> list[Any]:
    try:
        part: list[Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"results that pass through a folder ({os.path.dirname(path)!r}) may hold tensors and plain data only: "
            f"{error}; drop tmpdir (collect_dir) to gather them through the process group"
        ) from error
    return part
