"""From samples to a batch, in parts of one device each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.utils.data import default_collate

from trainwright.base.errors import DataError
from trainwright.compat.mmcv1.parallel.data_container import DataContainer


class CollateError(DataError, AssertionError):
    """Containers that do not fit into one batch."""


def collate(batch: Any, samples_per_gpu: int = 1) -> Any:
    """What torch's collating makes of it, except for DataContainers: these become one with a list, an item for each
    `samples_per_gpu` samples: their values stacked, or a list of them.
    """
    if not isinstance(batch, Sequence):
        raise TypeError(f"a batch to collate must be a list of samples, got {batch!r} of type {type(batch).__name__}")
    first = batch[0]
    if isinstance(first, DataContainer):
        parts = [list(batch[n : n + samples_per_gpu]) for n in range(0, len(batch), samples_per_gpu)]
        if first.stack and not first.cpu_only:
            return DataContainer([_stacked(part) for part in parts], first.stack, first.padding_value)
        data = [[sample.data for sample in part] for part in parts]
        return DataContainer(data, first.stack, first.padding_value, cpu_only=first.cpu_only)
    if isinstance(first, Sequence):
        return [collate(column, samples_per_gpu) for column in zip(*batch, strict=False)]
    if isinstance(first, Mapping):
        return {key: collate([sample[key] for sample in batch], samples_per_gpu) for key in first}
    return default_collate(list(batch))


def _stacked(part: list[DataContainer]) -> torch.Tensor:
    """One tensor of those of a part, padded at the end of their last dimensions to the largest size."""
    first = part[0]
    if not isinstance(first.data, torch.Tensor):
        raise CollateError(f"stack=True is for tensors, got {first.data!r} of type {type(first.data).__name__}")
    n_padded = first.pad_dims
    if n_padded is None:
        return default_collate([sample.data for sample in part])  # type: ignore[no-any-return]
    n_kept = first.dim() - n_padded
    shapes = [tuple(sample.size()) for sample in part]
    if n_kept <= 0 or any(len(shape) != len(shapes[0]) or shape[:n_kept] != shapes[0][:n_kept] for shape in shapes):
        raise CollateError(
            f"tensors of the sizes {', '.join(map(str, shapes))} cannot be stacked: with pad_dims={n_padded} they must "
            "have more dimensions than that, and the same sizes but for the last ones"
        )
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    padded = []
    for sample, shape in zip(part, shapes, strict=True):
        pads = [pad for dim in range(len(shape) - 1, n_kept - 1, -1) for pad in (0, largest[dim] - shape[dim])]
        padded.append(functional.pad(sample.data, pads, value=sample.padding_value))
    return default_collate(padded)  # type: ignore[no-any-return]
