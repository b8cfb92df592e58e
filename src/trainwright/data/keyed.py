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
from torch.utils.data import DataLoader, IterableDataset, IterDataPipe

from trainwright.base.errors import CheckpointError, DataError
from trainwright.base.logs import print_log
from trainwright.data.board import Board, end_at_once, name_failure, watch
from trainwright.data.fetch import KeyedCollate, KeyedDataset, KeyedWorkerInit, name_of
from trainwright.data.indices import KeyedIndices, draws_from_all, is_endless, samplers_of
from trainwright.data.loader_state import StreamProgress, of_this_rank
from trainwright.data.sample_errors import Carried, SampleFailure, max_skipped, too_many
from trainwright.data.sampler import DefaultSampler, InfiniteSampler
from trainwright.data.stream_reading import KeyedStream, StreamCollate
from trainwright.data.streams import SideStreams, mix
from trainwright.dist import data_info

__all__ = ["KeyedDataLoader", "mix"]

_LOADER_KEY = -1  # an index that no sample has
_ends: weakref.WeakKeyDictionary[DataLoader[Any], weakref.finalize[Any, Any]] = weakref.WeakKeyDictionary()


class KeyedDataLoader(DataLoader[Any]):
    """``torch.utils.data.DataLoader`` with keyed randomness and a position that can be saved.

    It takes torch's arguments, and `seed`. Iterating draws nothing from the main process's random streams. Choose the
    order with ``set_epoch``; without it every pass is the same, except over an InfiniteSampler, which goes on.
    An error while sample k is read becomes a DataError that names k, from a worker too, and when the worker dies of it
    or is not done within torch's `timeout`. `on_sample_error`: 'raise'; or 'skip', or ``dict(skip=dict(max=10))``, to
    let another sample take the place of one that raises, for so many different samples of this rank.

    An IterableDataset has no indices to key: what it draws for item n is keyed by (seed, epoch, worker, n). One with
    ``state_dict`` and ``load_state_dict`` is resumed at its place; the items of another are read again and dropped.
    """

    allow_inexact = False  # whether a position that cannot be kept exactly may be taken on all the same

    def __init__(
        self, dataset: Any, *args: Any, seed: int = 0, on_sample_error: str | dict[str, Any] = "raise", **kwargs: Any
    ) -> None:
        if kwargs.get("generator") is None and len(args) < 12:
            kwargs["generator"] = torch.Generator()
        super().__init__(dataset, *args, **kwargs)
        self.seed = seed
        self._iterable = isinstance(dataset, IterableDataset)
        self._epoch = 0
        self._position = (0, 0)  # (epoch, batches that the consumer has got of it)
        self._resume = False
        self._max_skipped = max_skipped(on_sample_error)
        self._skipped: dict[int | str, None] = {}
        # torch's own data pipes are known to its iterator, which sees to their seeds and shards
        self._streams = StreamProgress(self) if self._iterable and not isinstance(dataset, IterDataPipe) else None
        self._stream: KeyedStream | None = None
        self._board: Board | None = None

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
        to_drop = start if self._streams is None else self._streams.begin(start, self.allow_inexact)
        if start:
            self.close()  # workers that wait for another pass cannot be told of a place
        elif self._stream is not None:
            self._stream.begin_pass(self.seed, epoch)
        return self._pass_over_stream(SideStreams(key) if self.num_workers == 0 else None, to_drop)

    def _pass_over_stream(self, streams: SideStreams | None, to_drop: int) -> Iterator[Any]:
        with streams or contextlib.nullcontext():
            batches = _Batches(self, super().__iter__(), streams)
        batches.skip(to_drop)
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
        self._board = Board(self.num_workers, self._iterable) if self.num_workers else None
        if self._iterable and self._streams is None:
            return super()._get_iterator()
        # Torch's iterator takes its parts from the loader's attributes; users go on seeing their own objects there.
        own = {name: self.__dict__[name] for name in ("dataset", "collate_fn", "worker_init_fn")}
        dataset, collate_fn = self._reading(own["dataset"], own["collate_fn"])
        init_fn = KeyedWorkerInit(own["worker_init_fn"])
        self.__dict__.update(dataset=dataset, collate_fn=collate_fn, worker_init_fn=init_fn)
        try:
            iterator = super()._get_iterator()
        finally:
            self.__dict__.update(own)
        if self._board is not None:
            watch(iterator, self._board)
        return iterator

    def _reading(self, dataset: Any, collate_fn: Any) -> tuple[Any, Any]:
        if self._streams is None:
            pool = len(dataset) if draws_from_all(self) else 0
            skips = self._max_skipped is not None
            return KeyedDataset(dataset, self._board, skips, pool), KeyedCollate(collate_fn, self._board)
        stream = KeyedStream(dataset, data_info()[0], self._streams.take_start(), self._board)
        stream.begin_pass(self.seed, self._position[0])
        self._stream = stream
        return stream, StreamCollate(collate_fn, stream, name_of(collate_fn))

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

    def drop(self, iterator: Any) -> None:
        """End a pass whose workers have failed."""
        if iterator is self._iterator:
            self._iterator = None
            _ends.pop(self).detach()
        end_at_once(iterator)

    # -- position ------------------------------------------------------------------------------------------------------
    @property
    def position(self) -> tuple[int, int]:
        """(epoch, batches handed out of it so far); the batches that workers have prefetched do not count."""
        return self._position

    @property
    def state_is_per_rank(self) -> bool:
        """Whether ``state_dict`` differs between ranks, by more than can be told from one of them."""
        return self._iterable or self._max_skipped is not None

    @property
    def skipped_samples(self) -> list[int | str]:
        """The samples that were left out so far, because they could not be read."""
        return list(self._skipped)

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it depends on. All batches consumed: the epoch is complete.

        ``consumed_samples`` counts those of all ranks; it is 0 where batches have no fixed size.
        """
        epoch, consumed = self._position
        per_step = self._samples_per_step()
        state: dict[str, Any] = {
            "seed": self.seed,
            "epoch": epoch,
            "consumed_batches": consumed,
            "consumed_samples": consumed * per_step,
            "samples_per_step": per_step,
            "num_samples": self._size(),
        }
        for sampler in self._seeded_samplers():
            state["sampler_seed"] = sampler.seed
            if isinstance(sampler, InfiniteSampler):
                begun = sampler.start_of_pass(consumed * per_step // sampler.world_size)
                state.update({} if begun is None else {"pass": begun[0], "pass_generator": begun[1]})
        if self._max_skipped is not None:
            state["skipped_samples"] = self.skipped_samples
        if self._streams is not None:
            state["streams"] = self._streams.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass begin behind the consumed batches, if it is of the same epoch; later ones begin at 0.

        Taken on with another batch size or number of ranks, the position is converted by the samples of all ranks.
        ``dict(by_rank=[...])`` are the states of several ranks.
        """
        state, ranks_before = of_this_rank(state)
        missing = [name for name in ("epoch", "consumed_batches") if not isinstance(state.get(name), int)]
        if missing:
            raise CheckpointError(
                f"this is no state of a data loader: {' and '.join(missing)} must be integers, got {state!r}; "
                "load the weights only (load_from) to start the data afresh"
            )
        self.seed = state.get("seed", self.seed)
        for sampler in self._seeded_samplers():
            sampler.seed = state.get("sampler_seed", sampler.seed)
            if isinstance(sampler, InfiniteSampler) and "pass" in state and state.get("num_samples") == sampler.size:
                sampler.known_start = (state["pass"], state["pass_generator"])
        self.set_epoch(state["epoch"])
        self._position = (self.epoch, self._converted(state))
        self._resume = True
        self._skipped = dict.fromkeys(state.get("skipped_samples", ()))
        if self._streams is not None:
            self._streams.load_state_dict(state.get("streams"), ranks_before)

    def note(self, carried: Carried) -> None:
        """What was told of a batch that is handed out."""
        if carried.stream is not None and self._streams is not None:
            self._streams.advance(carried.stream)
        for skipped in carried.skipped:
            if skipped.sample in self._skipped:
                continue
            self._skipped[skipped.sample] = None
            assert self._max_skipped is not None
            if len(self._skipped) > self._max_skipped:
                raise DataError(too_many(self._skipped, self._max_skipped, skipped))
            _warn(f"{skipped.text}: left out, another sample takes its place ({len(self._skipped)} of at most "
                  f"{self._max_skipped} different ones)")  # fmt: skip

    def reseed(self, before: int, now: int) -> None:
        """Use the seed `now` where `before` was used, here and in the samplers."""
        for owner in (self, *self._seeded_samplers()):
            owner.seed = now if owner.seed == before else owner.seed

    def _converted(self, state: dict[str, Any]) -> int:
        consumed, before, now = state["consumed_batches"], state.get("samples_per_step"), self._samples_per_step()
        size, old_size = self._size(), state.get("num_samples")
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

    def _size(self) -> int:
        return 0 if self._iterable else len(self.dataset)  # type: ignore[arg-type]

    def _samples_per_step(self) -> int:
        """Samples that all ranks together take in one step; 0 where it is not fixed."""
        size = self.batch_size if self.batch_sampler is None else getattr(self.batch_sampler, "batch_size", 0)
        per_rank = 1 if size is None else size
        return int(per_rank) * data_info()[1] if isinstance(per_rank, int) else 0

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
        self._board = loader._board
        self._epoch, self._count = loader.position

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self._loader)

    def __next__(self) -> Any:
        batch = self._pull()
        self._count += 1
        self._loader._position = (self._epoch, self._count)
        return batch

    def _pull(self) -> Any:
        batch = self._next() if self._board is None else self._next_of_workers(self._board)
        kind = type(batch)
        if kind is Carried:
            self._loader.note(batch)
            return batch.batch
        if kind is SampleFailure:
            self._source = iter(())  # ends the workers now, not when the traceback is collected
            raise DataError(batch.message) from batch.cause
        return batch

    def _next(self) -> Any:
        if self._streams is None:
            return next(self._source)
        with self._streams:
            return next(self._source)

    def _next_of_workers(self, board: Board) -> Any:
        try:
            board.is_pulling = True
            if board.failed is not None:
                raise board.failed
            return next(self._source)
        except (RuntimeError, DataError, OSError, EOFError) as error:
            board.is_pulling = False
            found = board.failed or name_failure(self._source, board, error, self._loader.timeout)
            if found is None:
                raise
            source, self._source, board.failed = self._source, iter(()), None
            self._loader.drop(source)
            raise found from (None if found is error else error)
        finally:
            board.is_pulling = False

    def skip(self, n_batches: int) -> None:
        """Read and drop."""
        with contextlib.suppress(StopIteration):
            for _ in range(n_batches):
                self._pull()


def _warn(text: str) -> None:
    print_log(text, "current", logging.WARNING)
