"""What a keyed loader hands to torch in place of the user's dataset and collate function; it runs in the workers."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from operator import index as as_integer
from typing import Any, NamedTuple

from torch.utils.data import Subset, get_worker_info

from trainwright.data.board import COLLATING, IDLE, READING, Board
from trainwright.data.sample_errors import TRIES, Carried, SampleFailure, Skipped, as_key, failure
from trainwright.data.stream_reading import KeyedStream
from trainwright.data.streams import epoch_key, sample_key, seed_host_streams
from trainwright.data.workers import begin_work

_HINT = "\nmend or remove it, or leave such samples out: train_dataloader=dict(on_sample_error='skip')"
_EPOCH = 2**32 - 1  # above these bits an epoch under which a sample is keyed has the number of its visit


class KeyedBatch(NamedTuple):
    """The indices of one batch (one index where batching is off) and the epoch under which their samples are keyed."""

    seed: int
    epochs: int | list[int]  # one for all, or one a sample
    indices: Any


class ReadSamples(NamedTuple):
    """The samples of one batch, and their indices, on the way from dataset to collate function."""

    samples: Any  # a list; where batching is off, the one sample, and no indices
    indices: Any
    epoch: int
    skipped: tuple[Skipped, ...] = ()


class KeyedDataset:
    """Seeds python, numpy and torch from (seed, epoch, index) before each sample is read.

    A dataset that reads whole batches (``__getitems__``) is seeded once a batch. With `skips` another sample takes the
    place of one that raises: which one is a function of (seed, epoch, index), out of the first `pool` of the dataset,
    or where that is 0 out of its batch.
    """

    def __init__(self, dataset: Any, board: Board | None = None, skips: bool = False, pool: int = 0) -> None:
        self.dataset = dataset
        self._board, self._skips, self._pool = board, skips, pool
        self._reads_batches = _reads_batches(dataset)
        self._worker: int | None = None

    def __getitems__(self, batch: KeyedBatch) -> ReadSamples | SampleFailure:
        seed, epochs, indices = batch
        if self._reads_batches:
            return self._read_batch(seed, epochs if isinstance(epochs, int) else epochs[0], indices)
        return self._read_each(seed, epochs, indices)

    def _read_each(self, seed: int, epochs: int | list[int], indices: list[Any]) -> ReadSamples | SampleFailure:
        samples: list[Any] = []
        skipped: list[Skipped] = []
        epoch = epochs if isinstance(epochs, int) else epochs[0]
        key = epoch_key(seed, epoch)
        dataset, board, worker = self.dataset, self._board, self._worker_id()
        for at, index in enumerate(indices):
            if not isinstance(epochs, int):
                epoch = epochs[at]
                key = epoch_key(seed, epoch)
            number = index_number(index)
            own_key = sample_key(key, number)
            if board is not None:
                board.write(worker, READING, epoch & _EPOCH, _bounded(number), number is index or number == index)
            seed_host_streams(own_key)
            try:
                samples.append(dataset[index])
            except (Exception, SystemExit) as error:  # noqa: BLE001 - carried to the consumer, which raises it
                hint = "" if self._skips else _HINT
                failed = failure(f"sample {index!r}", dataset, error, epoch=epoch & _EPOCH, hint=hint)
                if not self._skips:
                    return failed
                found = self._other(own_key, index, indices, error, skipped)
                if not found:
                    return failed
                samples += found
        if board is not None:
            board.write(worker, COLLATING, epoch & _EPOCH)
        return ReadSamples(samples, indices, epoch & _EPOCH, tuple(skipped))

    def _other(
        self, key: int, index: Any, indices: list[Any], error: BaseException, skipped: list[Skipped]
    ) -> list[Any]:
        """[a sample in place of `index`], or [] where none could be read; what could not goes to `skipped`."""
        for attempt in range(1, TRIES + 1):
            skipped.append(Skipped(as_key(index), f"sample {index!r}: {type(error).__name__}: {error}"))
            other_key = sample_key(key, -attempt)
            index = other_key % self._pool if self._pool else indices[other_key % len(indices)]
            seed_host_streams(other_key)
            try:
                return [self.dataset[index]]
            except (Exception, SystemExit) as another:  # noqa: BLE001 - counted, and the next one is tried
                error = another
        return []

    def __getitem__(self, batch: KeyedBatch) -> Any:
        read = self._read_each(batch.seed, batch.epochs, [batch.indices])
        return read if isinstance(read, SampleFailure) else read._replace(samples=read.samples[0], indices=None)

    def _read_batch(self, seed: int, epoch: int, indices: list[Any]) -> ReadSamples | SampleFailure:
        key = epoch_key(seed, epoch)
        for index in indices:
            key = sample_key(key, index_number(index))
        if self._board is not None:
            first = index_number(indices[0])
            self._board.write(self._worker_id(), READING, epoch, _bounded(first), False)
        seed_host_streams(key)
        try:
            samples: list[Any] = self.dataset.__getitems__(indices)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            if self._skips:
                return self._read_each(seed, epoch, indices)
            return failure(f"one of the samples {list(indices)!r}", self.dataset, error, epoch=epoch, hint=_HINT)
        if self._board is not None:
            self._board.write(self._worker_id(), COLLATING, epoch)
        return ReadSamples(samples, indices, epoch)

    def _worker_id(self) -> int:
        if self._worker is None:
            info = get_worker_info()
            self._worker = info.id if info else 0
        return self._worker


class KeyedCollate:
    """Collates, letting a failure through and turning one of its own into the same form."""

    def __init__(self, collate_fn: Callable[[Any], Any], board: Board | None = None) -> None:
        self.collate_fn = collate_fn
        self._board = board

    def __call__(self, samples: Any) -> Any:
        if isinstance(samples, SampleFailure):
            return samples
        read: ReadSamples = samples
        try:
            batch = self.collate_fn(read.samples)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            what = "a sample" if read.indices is None else f"a batch of the samples {list(read.indices)!r}"
            return failure(what, None, error, f"collated by {name_of(self.collate_fn)}", read.epoch)
        if self._board is not None:
            info = get_worker_info()
            self._board.write(info.id if info else 0, IDLE)
        return Carried(batch, read.skipped) if read.skipped else batch


class KeyedWorkerInit:
    """Shows the user's dataset in ``get_worker_info()``, then calls the user's `worker_init_fn`."""

    def __init__(self, init_fn: Callable[[int], Any] | None) -> None:
        self.init_fn = init_fn

    def __call__(self, worker_id: int) -> None:
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, (KeyedDataset, KeyedStream)):
            worker_id = info.dataset.assume_place(info) if isinstance(info.dataset, KeyedStream) else worker_id
            object.__setattr__(info, "dataset", info.dataset.dataset)  # WorkerInfo refuses plain assignment
        begin_work()
        if self.init_fn is not None:
            self.init_fn(worker_id)


def index_number(index: Any) -> int:
    """`index` as an integer to be keyed with: itself, or a checksum of an index that is no integer."""
    try:
        return as_integer(index)
    except TypeError:
        return zlib.crc32(repr(index).encode())


def _reads_batches(dataset: Any) -> bool:
    # A torch Subset always has __getitems__; it reads whole batches only if what it is a part of does.
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return callable(getattr(dataset, "__getitems__", None))


def name_of(obj: Any) -> str:
    func = getattr(obj, "func", obj)  # of a partial
    return getattr(func, "__name__", type(func).__name__)


def _bounded(number: int) -> int:
    return number if -(2**63) <= number < 2**63 else 0
