"""A DataLoader whose batches depend on (seed, epoch, position) alone, not on workers, prefetching or a stop on the way.

The order is the sampler's f(seed, epoch); what a sample draws while it is read is f(mix(seed, epoch, index)). So the
whole state is a few integers, and a resumed run reads none of the samples that it has seen.
"""

from __future__ import annotations

import contextlib
import logging
import os
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from trainwright.base.errors import CheckpointError, DataError
from trainwright.base.logs import print_log
from trainwright.data.fetch import KeyedCollate, KeyedDataset, KeyedWorkerInit, SampleFailure
from trainwright.data.indices import KeyedIndices, is_endless, samplers_of
from trainwright.data.sampler import DefaultSampler, InfiniteSampler
from trainwright.data.streams import SideStreams, mix
from trainwright.dist import get_world_size

__all__ = ["KeyedDataLoader", "mix"]

_LOADER_KEY = -1  # an index that no sample has
_ends: weakref.WeakKeyDictionary[DataLoader[Any], weakref.finalize[Any, Any]] = weakref.WeakKeyDictionary()


class KeyedDataLoader(DataLoader[Any]):
    """``torch.utils.data.DataLoader`` with keyed randomness and a position that can be saved.

    It takes torch's arguments, and `seed`. Iterating draws nothing from the main process's random streams. Choose the
    order with ``set_epoch``; without it every pass is the same, except over an InfiniteSampler, which goes on.
    An error while sample k is read becomes a DataError that names k, from a worker too.

    An IterableDataset has no indices to key: its streams are seeded by (seed, epoch, worker), and resuming within an
    epoch reads and drops what was consumed.
    """

    def __init__(self, dataset: Any, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        if kwargs.get("generator") is None and len(args) < 12:
            kwargs["generator"] = torch.Generator()
        super().__init__(dataset, *args, **kwargs)
        self.seed = seed
        self._iterable = isinstance(dataset, IterableDataset)
        self._epoch = 0
        self._position = (0, 0)  # (epoch, batches that the consumer has got of it)
        self._resume = False

    @property
    def epoch(self) -> int:
        """The epoch of the next pass: the sampler's, where that keeps one; 0 where passes are not told apart."""
        if is_endless(self):
            return 0
        for sampler in samplers_of(self):
            if hasattr(sampler, "set_epoch") and isinstance(getattr(sampler, "epoch", None), int):
                return int(sampler.epoch)
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose order and randomness of the next pass, and start it at its beginning unless `epoch` was resumed."""
        self._epoch = epoch
        for sampler in samplers_of(self):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)
        if self._position[0] != epoch and not is_endless(self):
            self._position = (epoch, 0)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        epoch, (last_epoch, consumed) = self.epoch, self._position
        resumes = is_endless(self) or (self._resume and epoch == last_epoch)
        start = consumed if resumes else 0
        self._position = (epoch, start)
        self._resume = False
        key = mix(self.seed, epoch, _LOADER_KEY)
        assert self.generator is not None
        self.generator.manual_seed(key)  # base seed of the workers, and order of a RandomSampler that torch made
        if not self._iterable:
            return _Batches(self, super().__iter__(), SideStreams() if self.num_workers == 0 else None)
        return self._replay(SideStreams(key) if self.num_workers == 0 else None, start)

    def _replay(self, streams: SideStreams | None, start: int) -> Iterator[Any]:
        if streams is None:
            batches = _Batches(self, super().__iter__(), None)
        else:
            with streams:
                batches = _Batches(self, super().__iter__(), streams)
        batches.skip(start)
        return batches

    def _get_iterator(self) -> Any:
        iterator = self._new_iterator()
        if self.persistent_workers:
            # The garbage collector ends the queues of what it collects before it asks for the workers to be told
            # through them: torch then waits five seconds for each. So the iterator is kept out of the garbage.
            _ends[self] = weakref.finalize(self, _end_workers, iterator, os.getpid())
            _ends[self].atexit = False  # torch's own exit handler does it
        return iterator

    def _new_iterator(self) -> Any:
        if self._iterable:
            return super()._get_iterator()
        # Torch's iterator takes its parts from the loader's attributes; users go on seeing their own objects there.
        own = {name: self.__dict__[name] for name in ("dataset", "collate_fn", "worker_init_fn")}
        self.__dict__.update(
            dataset=KeyedDataset(own["dataset"]),
            collate_fn=KeyedCollate(own["collate_fn"]),
            worker_init_fn=KeyedWorkerInit(own["worker_init_fn"]),
        )
        try:
            return super()._get_iterator()
        finally:
            self.__dict__.update(own)

    @property
    def _index_sampler(self) -> Any:
        plain = self.sampler if self.batch_sampler is None else self.batch_sampler
        return plain if self._iterable else KeyedIndices(self, plain)

    def close(self) -> None:
        """End persistent workers now; without this they end with the loader. The next pass starts new ones."""
        iterator: Any = self._iterator
        if iterator is not None:
            iterator._shutdown_workers()
            self._iterator = None
            _ends.pop(self).detach()

    # -- position ------------------------------------------------------------------------------------------------------
    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batches handed out of it so far); the batches that workers have prefetched do not count."""
        return self._position

    def state_dict(self) -> dict[str, int]:
        """The position and what it depends on, all integers. All batches consumed: the epoch is complete."""
        epoch, consumed = self._position
        state = {
            "seed": self.seed,
            "epoch": epoch,
            "consumed_batches": consumed,
            "samples_per_step": self._samples_per_step(),
            "num_samples": 0 if self._iterable else len(self.dataset),  # type: ignore[arg-type]
        }
        for sampler in self._seeded_samplers():
            state["sampler_seed"] = sampler.seed
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass begin behind the consumed batches, if it is of the same epoch; later ones begin at 0.

        Taken on with another batch size or number of ranks, the position is converted by the samples of all ranks.
        """
        missing = [name for name in ("epoch", "consumed_batches") if not isinstance(state.get(name), int)]
        if missing:
            raise CheckpointError(
                f"this is no state of a data loader: {' and '.join(missing)} must be integers, got {state!r}; "
                "load the weights only (load_from) to start the data afresh"
            )
        self.seed = state.get("seed", self.seed)
        for sampler in self._seeded_samplers():
            sampler.seed = state.get("sampler_seed", sampler.seed)
        self.set_epoch(state["epoch"])
        self._position = (self.epoch, self._converted(state))
        self._resume = True

    def reseed(self, before: int, now: int) -> None:
        """Use the seed `now` where `before` was used, here and in the samplers."""
        for owner in (self, *self._seeded_samplers()):
            owner.seed = now if owner.seed == before else owner.seed

    def _converted(self, state: dict[str, Any]) -> int:
        consumed, before, now = state["consumed_batches"], state.get("samples_per_step"), self._samples_per_step()
        size, old_size = 0 if self._iterable else len(self.dataset), state.get("num_samples")  # type: ignore[arg-type]
        if consumed and old_size and size != old_size:
            _warn(f"the dataset had {old_size} samples when the checkpoint was written and has {size} now: the resumed "
                  "epoch keeps its position, but its order is another one")  # fmt: skip
        if not before or not now or before == now:
            return int(consumed)
        batches, over = divmod(consumed * before, now)
        if over:
            _warn(f"{consumed} steps of {before} samples are no whole number of steps of {now}: {over} samples of the "
                  "resumed epoch will be seen again")  # fmt: skip
        return int(batches)

    def _samples_per_step(self) -> int:
        """Samples that all ranks together take in one step; 0 where it is not fixed."""
        size = self.batch_size if self.batch_sampler is None else getattr(self.batch_sampler, "batch_size", 0)
        per_rank = 1 if size is None else size
        return int(per_rank) * get_world_size() if isinstance(per_rank, int) else 0

    def _seeded_samplers(self) -> list[DefaultSampler | InfiniteSampler]:
        return [sampler for sampler in samplers_of(self) if isinstance(sampler, (DefaultSampler, InfiniteSampler))]


def _end_workers(iterator: Any, pid: int) -> None:
    if pid == os.getpid():
        iterator._shutdown_workers()
    else:  # in a fork, whose parent has the workers
        iterator._shutdown = True


class _Batches:
    """One pass: hands batches out, counts them, raises a sample's failure, keeps the main streams out of it."""

    def __init__(self, loader: KeyedDataLoader, source: Iterator[Any], streams: SideStreams | None) -> None:
        self._loader = loader
        self._source = source
        self._streams = streams
        self._epoch, self._count = loader.position

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        batch = self._pull()
        if type(batch) is SampleFailure:
            self._source = iter(())  # ends the workers now, not when the traceback is collected
            raise DataError(batch.message) from batch.cause
        self._count += 1
        self._loader._position = (self._epoch, self._count)
        return batch

    def _pull(self) -> Any:
        if self._streams is None:
            return next(self._source)
        with self._streams:
            return next(self._source)

    def skip(self, n_batches: int) -> None:
        """Read and drop."""
        with contextlib.suppress(StopIteration):
            for _ in range(n_batches):
                self._pull()


def _warn(text: str) -> None:
    print_log(text, "current", logging.WARNING)
