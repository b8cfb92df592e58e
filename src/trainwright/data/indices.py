"""The index side of a keyed loader: which samples come next, and under which key. It runs in the main process."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler, DistributedSampler, RandomSampler, SequentialSampler

from trainwright.data.fetch import KeyedBatch, index_number
from trainwright.data.sampler import DefaultSampler, InfiniteSampler
from trainwright.data.streams import SideStreams, mix

_SAMPLER_KEY = -2  # an index that no sample has
_VISIT_SHIFT = 32  # visit v to a sample in epoch e is keyed as epoch e + (v << 32)
_QUIET = (SequentialSampler, DistributedSampler)  # draw from no global stream, and visit no sample twice
_OF_ALL = (DefaultSampler, InfiniteSampler, SequentialSampler, RandomSampler, DistributedSampler)
_END: Any = object()


def samplers_of(loader: Any) -> list[Any]:
    """The distinct samplers that a user may have given: batch sampler, what it is built on, sampler."""
    found: list[Any] = []
    batch_sampler = loader.batch_sampler
    for sampler in (batch_sampler, getattr(batch_sampler, "sampler", None), loader.sampler):
        if sampler is not None and all(sampler is not other for other in found):
            found.append(sampler)
    return found


def is_endless(loader: Any) -> bool:
    """Whether passes go on where the last one stopped, instead of beginning anew."""
    return any(isinstance(sampler, InfiniteSampler) for sampler in samplers_of(loader))


def draws_from_all(loader: Any) -> bool:
    """Whether the order is surely one of the whole dataset: other samplers may leave samples out on purpose."""
    batch_sampler = loader.batch_sampler
    sampler = loader.sampler if batch_sampler is None else getattr(batch_sampler, "sampler", None)
    return type(batch_sampler) in (BatchSampler, type(None)) and type(sampler) in _OF_ALL


class KeyedIndices:
    """Batches of indices, from the loader's position on, with the epochs under which they are keyed."""

    def __init__(self, loader: Any, plain: Any) -> None:
        # Weak: persistent workers hold this, and the loader holds them; a cycle would delay their end by seconds.
        self._weak_loader = weakref.ref(loader)
        self._plain = plain

    @property
    def _loader(self) -> Any:
        loader = self._weak_loader()
        assert loader is not None, "the iterator keeps its loader alive"
        return loader

    def __len__(self) -> int:
        return len(self._plain)

    def __iter__(self) -> Iterator[KeyedBatch]:
        # Torch calls this more often than it iterates: nothing may happen before the first batch is asked for.
        plain, sampler, width = self._plain, self._plain, 1
        if type(plain) is BatchSampler:
            sampler, width = plain.sampler, plain.batch_size
        seed, (epoch, start) = self._loader.seed, self._loader.position
        if isinstance(sampler, DefaultSampler) and type(sampler).__iter__ is DefaultSampler.__iter__:
            return self._jump(sampler, start * width, seed, epoch)
        if isinstance(sampler, InfiniteSampler) and type(sampler).__iter__ is InfiniteSampler.__iter__:
            return self._jump_endless(sampler, start * width, seed)
        if type(sampler) in _QUIET:
            return (KeyedBatch(seed, epoch, indices) for n, indices in enumerate(plain) if n >= start)
        return self._skip_foreign(start, seed, epoch)

    def _jump(self, sampler: DefaultSampler, at: int, seed: int, epoch: int) -> Iterator[KeyedBatch]:
        sampler.start = at
        for indices in self._plain:
            yield KeyedBatch(seed, epoch, indices)

    def _jump_endless(self, sampler: InfiniteSampler, at: int, seed: int) -> Iterator[KeyedBatch]:
        sampler.start = at
        for indices in self._plain:
            n = 1 if self._plain is sampler else len(indices)
            epochs = sampler.epochs_of(at, n)
            yield KeyedBatch(seed, epochs if epochs[0] != epochs[-1] else epochs[0], indices)
            at += n

    def _skip_foreign(self, start: int, seed: int, epoch: int) -> Iterator[KeyedBatch]:
        """Samplers that may draw from the global streams, or repeat a sample: each repeat gets a key of its own."""
        key = mix(seed, epoch, _SAMPLER_KEY)
        streams = SideStreams(key)
        with streams:
            self._rewind(key)
            source = iter(self._plain)
        batched = self._loader.batch_sampler is not None
        visits: dict[int, int] = {}
        for n in itertools.count():
            with streams:
                indices = next(source, _END)
            if indices is _END:
                return
            epochs = [epoch + (_visit(visits, index) << _VISIT_SHIFT) for index in (indices if batched else [indices])]
            if n >= start:
                yield KeyedBatch(seed, epochs if max(epochs) != epoch else epoch, indices)

    def _rewind(self, key: int) -> None:
        """Put samplers that go on between passes where their order depends on (seed, epoch) alone."""
        for sampler in samplers_of(self._loader):
            if isinstance(sampler, InfiniteSampler):
                sampler.start = 0
            generator = getattr(sampler, "generator", None)
            if generator is not None:
                generator.manual_seed(key)


def _visit(visits: dict[int, int], index: Any) -> int:
    number = index_number(index)
    visit = visits.get(number, 0)
    visits[number] = visit + 1
    return visit
