"""Which samples of a batch count, and how the others are taken out."""

from collections import namedtuple

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, DistributedSampler, IterableDataset, SequentialSampler

from trainwright.data import DefaultSampler, InfiniteSampler
from trainwright.engine.loops.share import Share, first_of_batch, first_of_outputs, share_of, size_of_batch


def as_rank(sampler, rank, world_size):
    """A DefaultSampler as it would be made on that rank."""
    sampler.rank, sampler.world_size = rank, world_size
    size = len(sampler.dataset)
    sampler.num_samples = -(-size // world_size)
    sampler.total_size = sampler.num_samples * world_size
    return sampler


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10, 15, 16])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["ours", "torch"])
def test_what_counts_is_every_sample_once(world_size, size, batch_size, kind):
    seen = []
    for rank in range(world_size):
        if kind == "ours":
            sampler = as_rank(DefaultSampler(range(size), shuffle=False, seed=0), rank, world_size)
        else:
            sampler = DistributedSampler(range(size), world_size, rank, shuffle=False)
        loader = DataLoader(range(size), batch_size, sampler=sampler)
        share = share_of(loader)
        for n, batch in enumerate(loader):
            given, kept = share.counts(n)
            assert given == len(batch)
            seen += batch[:kept].tolist()
    assert sorted(seen) == list(range(size))


def test_nothing_is_taken_for_repeated_without_reason():
    data = range(7)
    for loader in (
        DataLoader(data, 2),
        DataLoader(data, 2, sampler=DefaultSampler(data, seed=0)),
        DataLoader(data, 2, sampler=DistributedSampler(data, 2, 1, drop_last=True)),
        DataLoader(data, 2, sampler=InfiniteSampler(data, seed=0)),
    ):
        assert share_of(loader).n_repeated == 0


def test_where_the_size_of_a_batch_is_not_known():
    class Own(BatchSampler):
        pass

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    assert share_of(DataLoader(range(4), batch_sampler=Own(SequentialSampler(range(4)), 2, False))) is None
    assert share_of(DataLoader(Stream(), 2)) is None
    assert share_of([1, 2]) is None


def test_without_batches_every_step_is_a_sample():
    share = share_of(DataLoader(range(3), batch_size=None))
    assert share == Share(3, 0, 1)
    assert [share.counts(n) for n in range(4)] == [(1, 1), (1, 1), (1, 1), (0, 0)]


PAIR = namedtuple("PAIR", "inputs label")
ROWS = torch.arange(12.0).reshape(3, 4)


@pytest.mark.parametrize(
    ("batch", "first"),
    [
        ({"inputs": ROWS, "label": torch.arange(3)}, {"inputs": ROWS[:2], "label": torch.arange(2)}),
        ({"inputs": [ROWS[:, :3]] * 3, "ids": ["a", "b", "c"]}, {"inputs": [ROWS[:, :3]] * 2, "ids": ["a", "b"]}),
        ({"deep": {"x": ROWS}, "size": 3, "name": "abc"}, {"deep": {"x": ROWS[:2]}, "size": 3, "name": "abc"}),
        ([ROWS, torch.arange(3)], [ROWS[:2], torch.arange(2)]),
        ([ROWS, torch.arange(3), ["a", "b", "c"]], [ROWS[:2], torch.arange(2), ["a", "b"]]),
        (PAIR(ROWS, [1, 2, 3]), PAIR(ROWS[:2], [1, 2])),
        ([{"x": ROWS}] * 3, [{"x": ROWS}] * 2),
        ([(ROWS, 1)] * 3, [(ROWS, 1)] * 2),
        (ROWS, ROWS[:2]),
        (5, 5),
    ],
)
def test_the_first_samples_of_a_batch(batch, first):
    assert repr(first_of_batch(batch, 3, 2)) == repr(first)


@pytest.mark.parametrize(
    ("outputs", "first"),
    [
        ([1, 2, 3], [1, 2]),
        ([ROWS[:, :3]] * 3, [ROWS[:, :3]] * 2),
        ([{"scores": ROWS, "label": torch.arange(3)}], [{"scores": ROWS[:2], "label": torch.arange(2)}]),
        ({"scores": ROWS, "loss": torch.tensor(1.0)}, {"scores": ROWS[:2], "loss": torch.tensor(1.0)}),
        (ROWS, ROWS[:2]),
        ((ROWS, torch.arange(3)), (ROWS[:2], torch.arange(2))),
        (None, None),
    ],
)
def test_the_first_predictions(outputs, first):
    assert repr(first_of_outputs(outputs, 3, 2)) == repr(first)


@pytest.mark.parametrize(
    "batch",
    [
        {"name": "abc", "inputs": ROWS},
        {"inputs": [ROWS] * 3},
        {"deep": {"x": ROWS}},
        [ROWS, torch.arange(3)],
        [["a", "b", "c"], [1, 2, 3]],
        [{"x": 1}] * 3,
        ROWS,
    ],
)
def test_a_size_that_the_form_tells(batch):
    assert size_of_batch(batch) == 3


@pytest.mark.parametrize("batch", [{}, [], {"name": "abc"}, "abc", torch.tensor(1.0)])
def test_a_size_that_the_form_does_not_tell(batch):
    assert size_of_batch(batch) is None
