"""Which samples of a batch count: a sampler repeats some at the end of a pass, so that all ranks have as many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.data import BatchSampler

from trainwright.engine.loops.base import length_or_none


class Share(NamedTuple):
    """One rank's part of a pass: its samples, how many of them, at the end, repeat others, and how they are batched."""

    n_samples: int
    n_repeated: int
    batch_size: int

    def counts(self, batch: int) -> tuple[int, int]:
        """(samples in the batch of that index, how many of these, from the first on, are no repetitions)."""
        begin = batch * self.batch_size
        size = max(min(self.n_samples - begin, self.batch_size), 0)
        return size, min(max(self.n_samples - self.n_repeated - begin, 0), size)


def share_of(loader: Any) -> Share | None:
    """What the sampler of a loader says of this rank's part; None where the size of a batch cannot be known ahead.

    Repetitions are those of DefaultSampler, torch's DistributedSampler and others with their attributes: rank r of W
    has the positions r, r + W, ... of ``total_size``, and those from the size of the dataset on repeat the first ones.
    """
    batch_sampler: Any = getattr(loader, "batch_sampler", None)
    if batch_sampler is None:
        sampler, batch_size = getattr(loader, "sampler", None), 1
    elif type(batch_sampler) is BatchSampler:
        sampler, batch_size = batch_sampler.sampler, int(batch_sampler.batch_size)
    else:
        return None
    n_samples = None if sampler is None else length_or_none(sampler)
    return None if n_samples is None else Share(n_samples, _n_repeated(sampler), batch_size)


def _n_repeated(sampler: Any) -> int:
    size, total, rank = length_or_none(getattr(sampler, "dataset", None)), *_numbers(sampler, "total_size", "rank")
    world_size = next((n for n in _numbers(sampler, "world_size", "num_replicas") if n is not None), None)
    if size is None or total is None or rank is None or world_size is None:
        return 0
    return len(range(rank, total, world_size)) - len(range(rank, min(size, total), world_size))


def _numbers(owner: Any, *names: str) -> list[int | None]:
    values = [getattr(owner, name, None) for name in names]
    return [value if isinstance(value, int) else None for value in values]


def first_of_batch(batch: Any, size: int, kept: int) -> Any:
    """The first `kept` of the `size` samples of a collated batch.

    A list or tuple is taken for the fields of the samples where each of its items is as long as the batch, as collate
    functions leave it, and otherwise for the samples.
    """
    if isinstance(batch, (list, tuple)) and not (batch and all(_is_long(item, size) for item in batch)):
        return batch[:kept] if len(batch) == size else batch
    return _inside(batch, size, kept)


def first_of_outputs(outputs: Any, size: int, kept: int) -> Any:
    """The first `kept` of the predictions for `size` samples: one a sample, or dicts and tensors of the whole batch."""
    if isinstance(outputs, (list, tuple)):
        return outputs[:kept] if len(outputs) == size else _inside(outputs, size, kept)
    return _within(outputs, size, kept)


def _is_long(item: Any, size: int) -> bool:
    if isinstance(item, torch.Tensor):
        return item.dim() > 0 and len(item) == size
    return isinstance(item, (list, tuple)) and len(item) == size


def _inside(value: Any, size: int, kept: int) -> Any:
    if isinstance(value, (list, tuple)):
        items = [_within(item, size, kept) for item in value]
        kind: Any = type(value)
        return kind(*items) if hasattr(value, "_fields") else kind(items)
    return _within(value, size, kept)


def _within(value: Any, size: int, kept: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _within(item, size, kept) for key, item in value.items()}
    return value[:kept] if _is_long(value, size) else value


def size_of_batch(batch: Any) -> int | None:
    """How many samples a batch seems to have; None where its form does not tell."""
    if isinstance(batch, torch.Tensor):
        return len(batch) if batch.dim() else None
    if isinstance(batch, Mapping):
        sizes = (_size_of_field(value) for value in batch.values())
        return next((size for size in sizes if size is not None), None)
    if isinstance(batch, (list, tuple)) and batch:
        return _size_of_field(batch[0]) if isinstance(batch[0], (torch.Tensor, list, tuple)) else len(batch)
    return None


def _size_of_field(value: Any) -> int | None:
    return len(value) if isinstance(value, (list, tuple)) else size_of_batch(value)
