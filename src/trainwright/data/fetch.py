"""What a keyed loader hands to torch in place of the user's dataset and collate function; it runs in the workers."""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import index as as_integer
from typing import Any, NamedTuple

from torch.utils.data import Subset, get_worker_info

from trainwright.data.streams import epoch_key, sample_key, seed_host_streams
from trainwright.data.workers import outlive_signals


class KeyedBatch(NamedTuple):
    """The indices of one batch (one index where batching is off) and the epoch under which their samples are keyed."""

    seed: int
    epochs: int | list[int]  # one for all, or one a sample
    indices: Any


class ReadSamples(NamedTuple):
    """The samples of one batch, and their indices, on the way from dataset to collate function."""

    samples: list[Any]
    indices: Any


@dataclass(frozen=True)
class SampleFailure:
    """Takes the place of a batch whose sample could not be read. torch would rewrite an error raised in a worker."""

    message: str
    cause: Exception | None  # only within one process: an arbitrary exception need not survive pickling


class KeyedDataset:
    """Seeds python, numpy and torch from (seed, epoch, index) before each sample is read.

    A dataset that reads whole batches (``__getitems__``) is seeded once a batch.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self._reads_batches = _reads_batches(dataset)

    def __getitems__(self, batch: KeyedBatch) -> ReadSamples | SampleFailure:
        seed, epochs, indices = batch
        if self._reads_batches:
            return self._read_batch(seed, epochs if isinstance(epochs, int) else epochs[0], indices)
        samples: list[Any] = []
        shared = isinstance(epochs, int)
        key = epoch_key(seed, epochs) if isinstance(epochs, int) else 0
        dataset = self.dataset
        for at, index in enumerate(indices):
            if not shared:
                key = epoch_key(seed, epochs[at])  # type: ignore[index]
            seed_host_streams(sample_key(key, index_number(index)))
            try:
                samples.append(dataset[index])
            except Exception as error:  # noqa: BLE001 - carried to the consumer, which raises it
                return _failure(f"sample {index!r}", dataset, error)
        return ReadSamples(samples, indices)

    def __getitem__(self, batch: KeyedBatch) -> Any:
        read = self.__getitems__(KeyedBatch(batch.seed, batch.epochs, [batch.indices]))
        return read if isinstance(read, SampleFailure) else read.samples[0]

    def _read_batch(self, seed: int, epoch: int, indices: list[Any]) -> ReadSamples | SampleFailure:
        key = epoch_key(seed, epoch)
        for index in indices:
            key = sample_key(key, index_number(index))
        seed_host_streams(key)
        try:
            samples: list[Any] = self.dataset.__getitems__(indices)
        except Exception as error:  # noqa: BLE001 - as above
            return _failure(f"one of the samples {list(indices)!r}", self.dataset, error)
        return ReadSamples(samples, indices)


class KeyedCollate:
    """Collates, letting a failure through and turning one of its own into the same form."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, samples: Any) -> Any:
        if isinstance(samples, SampleFailure):
            return samples
        what = "a sample"
        if isinstance(samples, ReadSamples):
            samples, indices = samples
            what = f"a batch of the samples {list(indices)!r}"
        try:
            return self.collate_fn(samples)
        except Exception as error:  # noqa: BLE001 - as above
            return _failure(what, None, error, f"collated by {_name(self.collate_fn)}")


class KeyedWorkerInit:
    """Shows the user's dataset in ``get_worker_info()``, then calls the user's `worker_init_fn`."""

    def __init__(self, init_fn: Callable[[int], Any] | None) -> None:
        self.init_fn = init_fn

    def __call__(self, worker_id: int) -> None:
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, KeyedDataset):
            object.__setattr__(info, "dataset", info.dataset.dataset)  # WorkerInfo refuses plain assignment
        outlive_signals()
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


def _name(obj: Any) -> str:
    func = getattr(obj, "func", obj)  # of a partial
    return getattr(func, "__name__", type(func).__name__)


def _failure(what: str, dataset: Any, error: Exception, how: str = "read") -> SampleFailure:
    owner = "" if dataset is None else f" of dataset {type(dataset).__name__}"
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    shown = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    info = get_worker_info()
    message = (
        f"{what}{owner} could not be {how}{f' in loader worker {info.id}' if info else ''}: "
        f"{type(error).__name__}: {error}\n{shown}"
    )
    return SampleFailure(message, None if info else error)
