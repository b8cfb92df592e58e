"""Bringing the per-sample results of all ranks together, in the order of the dataset."""

from __future__ import annotations

import itertools
import os
import pickle
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError, DataError, DeviceNameError
from trainwright.dist.axes import data_group, data_info, has_main
from trainwright.dist.collectives import all_gather_object, barrier, gather_object
from trainwright.dist.process import is_main_process

T = TypeVar("T")
_ABSENT: Any = object()
SLICE_BYTES = 64 * 2**20


def collect_results(results: list[T], size: int, device: str = "cpu", tmpdir: str | None = None) -> list[T] | None:
    """Per-sample `results` of all ranks in dataset order on rank 0; None on the other ranks.

    "Ranks" are those of the data axis. They hold every world-size-th sample, so the parts are interleaved, and cut to
    `size`: what a sampler added to make the ranks even lies at the end. They travel in slices of about `SLICE_BYTES` a
    rank: packed and unpacked copies of all of them never exist together. `device` 'cpu' gathers through main memory,
    'gpu' (or 'npu') through the device's backend.
    With `tmpdir` (a folder that all ranks see, 'cpu' only) the parts pass through files instead; these may
    hold tensors and plain data only. The folder goes too, where nothing else is in it.
    """
    if device not in ("cpu", "gpu", "npu"):
        raise DeviceNameError(f"collect_results: device must be 'cpu' or 'gpu', got {device!r}")
    if tmpdir is not None and device != "cpu":
        raise ConfigError("collect_results: tmpdir is for device='cpu'; drop tmpdir or set device='cpu'")
    if data_info()[1] == 1:
        return results[:size] if is_main_process() else None
    if not has_main():  # the same results as those of the ranks beside this one
        return None
    parts = _through_group(results, device) if tmpdir is None else _through_files(results, tmpdir)
    return None if parts is None else interleave(parts, size)


def collect_results_cpu(result_part: list[T], size: int, tmpdir: str | None = None) -> list[T] | None:
    """:func:`collect_results` through main memory, or the files of a folder."""
    return collect_results(result_part, size, "cpu", tmpdir)


def collect_results_gpu(result_part: list[T], size: int) -> list[T] | None:
    """:func:`collect_results` through the device's backend."""
    return collect_results(result_part, size, "gpu")


def interleave(parts: list[list[T]], size: int) -> list[T]:
    """The first `size` of `parts[0][0], parts[1][0], ..., parts[0][1], ...`; parts may differ in length."""
    mixed = itertools.chain.from_iterable(itertools.zip_longest(*parts, fillvalue=_ABSENT))
    return list(itertools.islice((result for result in mixed if result is not _ABSENT), size))


def _through_group(results: list[T], device: str) -> list[list[T]] | None:
    backend = str(torch_dist.get_backend())
    if device != "cpu" or "gloo" in backend or not torch_dist.is_gloo_available():
        return _in_slices(results, data_group())
    axis = data_group()
    ranks = None if axis is None else torch_dist.get_process_group_ranks(axis)
    # The results stay off the device; the group is gone again before the next call.
    group = torch_dist.new_group(ranks, backend="gloo", use_local_synchronization=axis is not None)
    try:
        return _in_slices(results, group)
    finally:
        torch_dist.destroy_process_group(group)


def _in_slices(results: list[T], group: torch_dist.ProcessGroup | None) -> list[list[T]] | None:
    told = all_gather_object((len(results), _bytes_each(results)), group)
    step = max(SLICE_BYTES // max(n_bytes for _, n_bytes in told), 1)
    parts: list[list[T]] | None = None
    for begin in range(0, max(*(length for length, _ in told), 1), step):
        gathered = gather_object(results[begin : begin + step], group=group)
        if parts is None:
            parts = gathered
        else:
            for part, more in zip(parts, gathered or (), strict=True):
                part += more
    return parts


def _bytes_each(results: list[Any], n_looked_at: int = 8) -> int:
    """Packed size of the largest of a few results, at least 1."""
    some = results[:: max(len(results) // n_looked_at, 1)][:n_looked_at]
    return max((len(pickle.dumps(result)) for result in some), default=1)


def _through_files(results: list[T], tmpdir: str) -> list[list[T]] | None:
    rank, world_size = data_info()
    os.makedirs(tmpdir, exist_ok=True)
    paths = [os.path.join(tmpdir, f"part_{part}.pt") for part in range(world_size)]
    torch.save(results, paths[rank])
    barrier(data_group())
    try:
        return [_load_part(path) for path in paths] if rank == 0 else None
    finally:
        try:
            if rank == 0:
                _remove(paths, tmpdir)
        finally:
            barrier(data_group())  # nobody writes the next results before these are read


def _remove(paths: list[str], folder: str) -> None:
    """The parts, and their folder where nothing else is in it."""
    for path in paths:
        os.remove(path)
    with suppress(OSError):  # something else is in it, or it is a link or a mount, which stays
        os.rmdir(folder)


def _load_part(path: str) -> list[Any]:
    try:
        part: list[Any] = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"results that pass through a folder ({os.path.dirname(path)!r}) may hold tensors and plain data only: "
            f"{error}; drop tmpdir (collect_dir) to gather them through the process group"
        ) from error
    return part
