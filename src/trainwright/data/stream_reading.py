"""Iterable datasets as a keyed loader reads them: their place travels with the batch, so prefetching does not count."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import IterableDataset, get_worker_info

from trainwright.data.board import COLLATING, IDLE, READING, Board
from trainwright.data.sample_errors import Carried, SampleFailure, failure
from trainwright.data.streams import mix, sample_key, seed_host_streams

_STREAM_KEY = -16  # an index that no sample has; a stream's own is so far below it as its number
_STREAMS_OF_A_RANK = 1 << 20
_BEGIN = -1


class StreamPlace(NamedTuple):
    """Where the stream of one worker stands behind a batch."""

    worker: int
    items: int
    ended: bool
    state: Any  # of the dataset, where that has one


class StreamStart(NamedTuple):
    """Where the streams of a pass begin: the place of each worker's, and whose turn it is."""

    places: list[dict[str, Any] | None]
    next_worker: int


class KeyedStream(IterableDataset[Any]):
    """An iterable dataset; the random numbers for item n of a worker's stream depend on (seed, epoch, worker, n) alone.

    A dataset with ``state_dict`` and ``load_state_dict`` goes to its place at once; with another one the items before
    it are read and dropped, in the worker. A dataset with ``set_epoch`` is told the epoch of each pass.
    """

    def __init__(self, dataset: Any, rank: int, start: StreamStart | None, board: Board | None) -> None:
        self.dataset = dataset
        self._rank, self._start, self._board = rank, start, board
        self._pass_cells = torch.zeros(2, dtype=torch.int64)  # seed and epoch; persistent workers are told by it
        if board is not None:
            self._pass_cells.share_memory_()
        self._worker = self._row = 0  # as the dataset sees it, and as torch and the board count
        self.items = 0
        self.ended = False

    def begin_pass(self, seed: int, epoch: int) -> None:
        """Choose the randomness of the next pass, from the main process."""
        self._pass_cells[0], self._pass_cells[1] = seed, epoch

    def assume_place(self, info: Any) -> int:
        """The number that this worker has in its streams: the first worker of torch goes on with the stream whose turn
        it is. The dataset sees it as its own."""
        self._row = info.id
        if self._start is not None:
            _renumber(info, (info.id + self._start.next_worker) % info.num_workers)
        return int(info.id)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        start, self._start = self._start, None
        if info is not None and start is None:
            _renumber(info, self._row)
        self._worker = info.id if info else 0
        seed, self._epoch = self._pass_cells.tolist()
        self._key = mix(seed, self._epoch, _STREAM_KEY - self._rank * _STREAMS_OF_A_RANK - self._worker)
        place = start.places[self._worker] if start is not None else None
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self._epoch)
        self.items, self.ended = 0, False
        return self._items(place)

    def _items(self, place: dict[str, Any] | None) -> Iterator[Any]:
        if place is not None and place["ended"]:
            self.items, self.ended = place["items"], True
            return
        seed_host_streams(sample_key(self._key, _BEGIN))
        to_drop = 0 if place is None else self._go_to(place)
        try:
            source = iter(self.dataset)
        except Exception as error:  # noqa: BLE001 - carried to the consumer, which raises it
            yield failure("the stream", self.dataset, error, "begun", self._epoch)
            return
        while True:
            if self._board is not None:
                self._board.write(self._row, READING, self._epoch, self.items)
            seed_host_streams(sample_key(self._key, self.items))
            try:
                item = next(source)
            except StopIteration:
                self.ended = True
                return
            except Exception as error:  # noqa: BLE001 - as above
                yield failure(f"item {self.items} of the stream", self.dataset, error, epoch=self._epoch)
                return
            self.items += 1
            if self.items > to_drop:
                yield item

    def _go_to(self, place: dict[str, Any]) -> int:
        """Put the dataset there; returns how many items have to be read and dropped because it cannot be put."""
        if place["state"] is None or not is_stateful(self.dataset):
            return int(place["items"])
        self.dataset.load_state_dict(copy.deepcopy(place["state"]))
        self.items = place["items"]
        return 0

    def place(self) -> StreamPlace:
        """Where this stream stands; what the dataset says is copied, because it goes on meanwhile."""
        if self._board is not None:
            self._board.write(self._row, COLLATING, self._epoch)
        state = copy.deepcopy(self.dataset.state_dict()) if is_stateful(self.dataset) else None
        return StreamPlace(self._worker, self.items, self.ended, state)

    def rest(self) -> None:
        """The batch is made."""
        if self._board is not None:
            self._board.write(self._row, IDLE)


def _renumber(info: Any, own: int) -> None:
    object.__setattr__(info, "seed", info.seed - info.id + own)  # WorkerInfo refuses plain assignment
    object.__setattr__(info, "id", own)


class StreamCollate:
    """Collates what was read of a stream, and sends the stream's place with it."""

    def __init__(self, collate_fn: Callable[[Any], Any], stream: KeyedStream, name: str) -> None:
        self.collate_fn, self._stream, self._name = collate_fn, stream, name

    def __call__(self, items: Any) -> Any:
        listed = items if isinstance(items, list) else [items]
        failed = next((item for item in listed if type(item) is SampleFailure), None)
        if failed is not None:
            return failed
        place = self._stream.place()
        try:
            batch = self.collate_fn(items)
        except Exception as error:  # noqa: BLE001 - as above
            return failure(f"the items up to {place.items} of the stream", None, error, f"collated by {self._name}")
        self._stream.rest()
        return Carried(batch, stream=place)


class NodeStream(IterableDataset[Any]):
    """A node of torchdata (``reset``, ``next``, ``state_dict``), or any other iterable with a state, as a dataset."""

    def __init__(self, node: Any) -> None:
        self.node = node
        self._state: Any = None

    def __iter__(self) -> Iterator[Any]:
        state, self._state = self._state, None
        if not callable(getattr(self.node, "reset", None)):
            if state is not None:
                self.node.load_state_dict(state)
            yield from self.node
            return
        self.node.reset(state)
        while True:
            try:
                item = self.node.next()
            except StopIteration:
                return
            yield item

    def state_dict(self) -> Any:
        """The node's state."""
        return self.node.state_dict()

    def load_state_dict(self, state: Any) -> None:
        """Begin the next pass there."""
        self._state = state


def is_stateful(dataset: Any) -> bool:
    """Whether a dataset can say where it stands, and go there."""
    return callable(getattr(dataset, "state_dict", None)) and callable(getattr(dataset, "load_state_dict", None))


def is_node(dataset: Any) -> bool:
    """Whether something that is no torch dataset is a stream with a state."""
    ways = ("load_state_dict", "reset")
    return (
        not hasattr(dataset, "__getitem__")
        and all(callable(getattr(dataset, name, None)) for name in ("__iter__", "state_dict"))
        and any(callable(getattr(dataset, name, None)) for name in ways)
    )
