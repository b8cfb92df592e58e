"""Iterable datasets: a resume at any batch gives what an unbroken pass gives; a stateful one reads nothing again."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch.utils.data import IterableDataset, get_worker_info

from trainwright.base.errors import CheckpointError, DataError
from trainwright.data import KeyedDataLoader, build_dataloader
from trainwright.data.loader_state import of_this_rank

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SIZE = 31


class Lines(IterableDataset):
    """Lines of a file, shared out by worker, with a shuffle buffer that draws, and a draw for each."""

    def __init__(self) -> None:
        self.n_read = 0

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        buffer: list[int] = []
        self.n_read = 0
        for index in range(first, SIZE, step):
            self.n_read += 1
            buffer.append(index)
            if len(buffer) == 4:
                yield self._row(buffer.pop(random.randrange(4)))
        for index in buffer:
            yield self._row(index)

    def _row(self, index: int) -> torch.Tensor:
        return torch.tensor([float(index), random.random(), torch.rand(()).item(), self.n_read], dtype=torch.float64)


class StatefulLines(Lines):
    """The same with a state."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.buffer = 0, []
        self.epoch = -1

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        info = get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        self.n_read = self.at
        for index in range(first + self.at * step, SIZE, step):
            self.at += 1
            self.n_read += 1
            self.buffer.append(index + 1000 * self.epoch)
            if len(self.buffer) == 4:
                yield self._row(self.buffer.pop(random.randrange(4)))
        while self.buffer:
            yield self._row(self.buffer.pop())
        self.at = 0

    def state_dict(self):
        return {"at": self.at, "buffer": self.buffer}

    def load_state_dict(self, state) -> None:
        self.at, self.buffer = state["at"], state["buffer"]


class Node:
    """In the manner of torchdata's nodes."""

    def reset(self, state=None) -> None:
        self.at = 0 if state is None else state["at"]

    def next(self):
        if self.at == SIZE:
            raise StopIteration
        self.at += 1
        return torch.tensor([float(self.at), random.random()])

    def __iter__(self):
        return self

    def state_dict(self):
        return {"at": self.at}


def loader(dataset, workers: int = 0, batch_size: int | None = 3, **options) -> KeyedDataLoader:
    return KeyedDataLoader(dataset(), batch_size=batch_size, num_workers=workers, seed=7, **options)


def rows(batches):
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("dataset", [Lines, StatefulLines])
@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("persistent", [False, True])
def test_from_every_batch_on(dataset, workers, persistent):
    options = {"persistent_workers": True} if persistent else {}
    if persistent and workers != 2:
        pytest.skip("one number of workers is enough")
    whole = rows(loader(dataset, workers, **options))
    assert len({row[0] for batch in whole for row in batch}) == SIZE
    stops = range(len(whole) + 1) if workers in (0, 2) and not persistent else [1, len(whole) - 2]
    for stop in stops:
        first = loader(dataset, workers, **options)
        batches = iter(first)
        begun = rows(itertools.islice(batches, stop))
        state = first.state_dict()
        second = loader(dataset, workers, **options)
        second.load_state_dict(state)
        assert begun + rows(second) == whole, stop
        if persistent:
            list(batches)
            for one in (first, second):
                one.set_epoch(1)
            assert rows(first) == rows(second)  # the streams are the first worker's and the second's again
            first.close()
            second.close()


def test_a_stateful_one_reads_nothing_again():
    first = loader(StatefulLines)
    batches = iter(first)
    for _ in range(7):
        next(batches)
    read = first.dataset.n_read
    second = loader(StatefulLines)
    second.load_state_dict(first.state_dict())
    assert second.dataset.n_read == 0
    next(iter(second))
    assert second.dataset.at == read + 3


def test_what_workers_have_read_ahead_does_not_count():
    first = loader(StatefulLines, 2, prefetch_factor=4)
    next(iter(first))
    places = first.state_dict()["streams"]["places"]
    assert places[0]["items"] == 3
    assert places[1] is None


def test_one_worker_is_no_worker():
    first = loader(StatefulLines, 1)
    begun = rows(itertools.islice(first, 4))
    second = loader(StatefulLines, 0)
    second.load_state_dict(first.state_dict())
    assert begun + rows(second) == rows(loader(StatefulLines))


@pytest.mark.parametrize("batch_size", [None, 1, 5])
def test_batch_sizes(batch_size):
    whole = rows(loader(StatefulLines, 2, batch_size))
    first = loader(StatefulLines, 2, batch_size)
    begun = rows(itertools.islice(first, 4))
    second = loader(StatefulLines, 2, batch_size)
    second.load_state_dict(first.state_dict())
    assert begun + rows(second) == whole


def test_a_node():
    for workers in (0, 1):
        whole = rows(
            build_dataloader({"dataset": Node(), "batch_size": 4, "num_workers": workers, "collate_fn": _stack}, 7)
        )
        first = build_dataloader({"dataset": Node(), "batch_size": 4, "num_workers": workers, "collate_fn": _stack}, 7)
        begun = rows(itertools.islice(first, 3))
        second = build_dataloader({"dataset": Node(), "batch_size": 4, "num_workers": workers, "collate_fn": _stack}, 7)
        second.load_state_dict(first.state_dict())
        assert begun + rows(second) == whole


def _stack(items):
    return torch.stack(items)


def test_the_state_is_plain(tmp_path):
    first = loader(StatefulLines, 2)
    next(iter(first))
    torch.save(first.state_dict(), tmp_path / "state")
    torch.load(tmp_path / "state", weights_only=True)


@pytest.mark.parametrize("dataset", [Lines, StatefulLines])
def test_another_number_of_workers_is_refused_in_the_middle_of_an_epoch(dataset, capsys):
    first = loader(dataset, 2)
    batches = iter(first)
    for _ in range(3):
        next(batches)
    second = loader(dataset, 3)
    second.load_state_dict(first.state_dict())
    message = (
        r"saved with num_workers=2 and num_workers is 3 now: the batches of \w+, an IterableDataset, come from a "
        r"stream of each worker.* set resume_cfg=dict\(allow_inexact=True\) to read the first 3 batches of the "
        "new streams"
    )
    with pytest.raises(CheckpointError, match=message):
        iter(second)
    second.load_state_dict(first.state_dict())
    second.allow_inexact = True
    assert rows(second) == rows(loader(dataset, 3))[3:]
    assert "3 batches of" in capsys.readouterr().err
    list(batches)
    second.load_state_dict(first.state_dict())
    second.set_epoch(1)  # a new epoch: nothing depends on where the streams stood
    third = loader(dataset, 3)
    third.set_epoch(1)
    assert rows(second) == rows(third)


def test_the_states_of_ranks():
    states = [{"epoch": 0, "consumed_batches": n} for n in range(3)]
    assert of_this_rank({"by_rank": states[:1]}) == (states[0], 1)
    assert of_this_rank(states[2]) == (states[2], None)
    one = loader(StatefulLines)
    next(iter(one))
    two = loader(StatefulLines)
    two.load_state_dict({"by_rank": [one.state_dict()] * 3})
    with pytest.raises(CheckpointError, match="the checkpoint is of 3 ranks and this run has 1"):
        iter(two)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_name_the_item(workers):
    class Bad(Lines):
        def _row(self, index):
            if index == 9:
                raise KeyError("line")
            return super()._row(index)

    class Unopened(Lines):
        def __iter__(self):
            raise OSError("lines.txt")

    def failing(samples):
        raise ValueError("shapes")

    where = " in loader worker 0" if workers else ""
    with pytest.raises(DataError, match=rf"item \d+ of the stream of dataset Bad could not be read{where}: KeyError"):
        list(loader(Bad, workers))
    with pytest.raises(
        DataError, match=f"the stream of dataset Unopened could not be begun{where}: OSError: lines.txt"
    ):
        list(loader(Unopened, workers))
    with pytest.raises(DataError, match="the items up to 3 of the stream could not be collated by failing"):
        list(loader(Lines, workers, collate_fn=failing))
