"""Loader workers that die, hang or run out of memory: the error says of which sample, in time."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time

import pytest
import torch
from torch.utils.data import IterableDataset

from trainwright.base.errors import DataError
from trainwright.data import KeyedDataLoader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")

SIZE, BAD, EPOCH = 40, 23, 3


def end(how: str) -> None:
    if how == "raise":
        raise KeyError("no such file")
    if how == "exit":
        os._exit(3)
    if how == "sys.exit":
        sys.exit(4)
    if how == "hang":
        time.sleep(60)
    if how == "memory":
        limit = 1 << 36
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        bytearray(1 << 40)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "segv": signal.SIGSEGV}[how])


class Deadly:
    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == BAD:
            end(self.how)
        return torch.tensor(index)


class DeadlyStream(IterableDataset):
    def __init__(self, how: str) -> None:
        self.how = how

    def __iter__(self):
        for index in range(SIZE):
            if index == BAD:
                end(self.how)
            yield torch.tensor(index)


def failing(dataset, timeout_s: float = 0, persistent: bool = False) -> tuple[str, float]:
    loader = KeyedDataLoader(
        dataset, batch_size=4, num_workers=2, timeout=timeout_s, persistent_workers=persistent, seed=1
    )
    loader.set_epoch(EPOCH)
    begins: list[float] = []

    def read() -> None:
        begins.extend(time.monotonic() for _ in loader)

    with pytest.raises(DataError) as caught:
        read()
    return str(caught.value), time.monotonic() - begins[-1]


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "raise",
            r"sample 23 of dataset Deadly could not be .* in loader worker 1: KeyError: 'no such file' \(epoch 3",
        ),
        ("sys.exit", r"sample 23 of dataset Deadly could not be read in loader worker 1: SystemExit: 4 \(epoch 3"),
        ("memory", r"sample 23 of dataset Deadly could not be read in loader worker 1: MemoryError:  \(epoch 3"),
        ("exit", r"loader worker 1 ended with exit code 3 while reading sample 23 of epoch 3. .*num_workers=0"),
        ("kill", r"loader worker 1 was killed by SIGKILL while reading sample 23 of epoch 3. .*memory ran out"),
        ("segv", r"loader worker 1 was killed by SIGSEGV while reading sample 23 of epoch 3. "),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_sample_is_named(how, says, persistent, capfd):
    text, taken = failing(Deadly(how), persistent=persistent)
    capfd.readouterr()  # torch's worker writes there when it is killed
    assert re.search(says, text), text
    assert taken < 2


def test_a_hang_ends_with_the_timeout():
    text, taken = failing(Deadly("hang"), timeout_s=1)
    assert text.startswith(
        "no batch within timeout=1 s: loader worker 1 is still reading sample 23 of epoch 3. Raise timeout in the "
        "dataloader if reading may take that long (0 waits for ever)"
    )
    assert taken < 3


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("raise", "item 23 of the stream of dataset DeadlyStream could not be read in loader worker"),
        ("kill", "was killed by SIGKILL while reading item 23 of its stream in epoch 3"),
    ],
)
def test_an_item_of_a_stream_is_named(how, says, capfd):
    text, taken = failing(DeadlyStream(how))
    capfd.readouterr()
    assert says in text
    assert taken < 2


def test_a_worker_that_dies_between_batches_is_told_of_at_the_next_one():
    """Torch would raise in its signal handler, wherever that is; here it is raised where the next batch is pulled."""
    loader = KeyedDataLoader(Deadly("raise"), batch_size=4, num_workers=1, prefetch_factor=1)
    batches = iter(loader)
    next(batches)
    worker = batches._source._workers[0]
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    time.sleep(0.1)
    with pytest.raises(DataError, match="loader worker 0 was killed by SIGKILL while "):
        next(batches)
    assert list(batches) == []
