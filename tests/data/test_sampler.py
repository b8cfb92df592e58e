"""Orders and sharding of the samplers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from trainwright.base.errors import DataError
from trainwright.data import DefaultSampler, InfiniteSampler, KeyedDataLoader
from trainwright.registry import DATA_SAMPLERS
from trainwright.testing.ranks import run_ranks


def _order(size: int, seed: int) -> list[int]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()


def test_one_rank_sees_the_whole_order_of_seed_plus_epoch():
    sampler = DefaultSampler(range(10), seed=3)
    assert list(sampler) == list(sampler) == _order(10, 3)
    sampler.set_epoch(4)
    assert list(sampler) == _order(10, 7)
    assert len(sampler) == 10
    assert list(DefaultSampler(range(4), shuffle=False)) == [0, 1, 2, 3]


def test_seed_none_is_drawn_from_numpy():
    np.random.seed(5)
    expected = int(np.random.randint(2**31))
    np.random.seed(5)
    assert DefaultSampler(range(3)).seed == expected
    np.random.seed(5)
    assert InfiniteSampler(range(3)).seed == expected


def test_start_counts_once():
    sampler = DefaultSampler(range(10), seed=3)
    whole = list(sampler)
    sampler.start = 4
    assert len(sampler) == 10
    assert list(sampler) == whole[4:]
    assert list(sampler) == whole
    sampler.start = 99
    assert list(sampler) == []


def _default_parts(size: int, shuffle: bool, round_up: bool) -> tuple[list[int], int, int]:
    sampler = DefaultSampler(range(size), shuffle=shuffle, seed=1, round_up=round_up)
    sampler.set_epoch(2)
    return list(sampler), len(sampler), sampler.total_size


@pytest.mark.parametrize("shuffle", [True, False])
def test_ranks_interleave_one_order(shuffle):
    order = _order(10, 3) if shuffle else list(range(10))
    for round_up, expected in ((True, order + order[:2]), (False, order)):
        parts = run_ranks(3, _default_parts, 10, shuffle, round_up)
        assert [part for part, _, _ in parts] == [expected[rank::3] for rank in range(3)]
        assert [length for _, length, _ in parts] == [len(expected[rank::3]) for rank in range(3)]
        assert {total for _, _, total in parts} == {len(expected)}


def test_more_ranks_than_samples():
    parts = run_ranks(3, _default_parts, 1, True, True)
    assert [part for part, _, _ in parts] == [[0], [0], [0]]
    assert [part for part, _, _ in run_ranks(3, _default_parts, 1, True, False)] == [[0], [], []]


def _stream(size: int, seed: int, shuffle: bool = True):
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(size, generator=generator).tolist() if shuffle else range(size)


@pytest.mark.parametrize("shuffle", [True, False])
def test_infinite_stream(shuffle):
    sampler = InfiniteSampler(range(7), shuffle=shuffle, seed=2)
    expected = list(itertools.islice(_stream(7, 2, shuffle), 40))
    assert list(itertools.islice(iter(sampler), 10)) == expected[:10]
    assert list(itertools.islice(iter(sampler), 10)) == expected[10:20]
    sampler.start = 3
    assert list(itertools.islice(iter(sampler), 10)) == expected[3:13]
    assert len(sampler) == 7
    sampler.set_epoch(3)
    assert sampler.epochs_of(5, 4) == [0, 0, 1, 1]


def _infinite_part(size: int, start: int | None) -> tuple[list[int], list[int]]:
    sampler = InfiniteSampler(range(size), seed=2)
    sampler.start = start
    return list(itertools.islice(iter(sampler), 20)), sampler.epochs_of(start or 0, 20)


@pytest.mark.parametrize("size", [2, 7])
@pytest.mark.parametrize("start", [None, 5])
def test_infinite_ranks_interleave_one_stream(size, start):
    parts = run_ranks(3, _infinite_part, size, start)
    first = 3 * (start or 0)
    expected = list(itertools.islice(_stream(size, 2), first, first + 60))
    assert [part for part, _ in parts] == [expected[rank::3] for rank in range(3)]
    assert [epochs for _, epochs in parts] == [[(first + rank + 3 * n) // size for n in range(20)] for rank in range(3)]


@pytest.mark.parametrize("kind", ["DefaultSampler", "InfiniteSampler"])
def test_an_empty_dataset_is_refused(kind):
    with pytest.raises(DataError, match=f"{kind}: the dataset list is empty.*check its path"):
        DATA_SAMPLERS.build({"type": kind, "dataset": []})


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("position", [0, 3, 7, 8, 25, 1003])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_infinite_sampler_does_not_deal_again_the_passes_before_its_place(position, workers, monkeypatch):
    def loader():
        return KeyedDataLoader(range(10), 3, sampler=InfiniteSampler(range(10), seed=4), seed=1, num_workers=workers)

    first = loader()
    batches = iter(first)
    for _ in range(position):
        next(batches)
    state = first.state_dict()
    after = [next(batches).tolist() for _ in range(9)]
    dealt = []
    randperm = torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *args, **kwargs: dealt.append(1) or randperm(*args, **kwargs))
    second = loader()
    second.load_state_dict(state)
    again = iter(second)
    assert next(again).tolist() == after[0]
    assert len(dealt) <= 1 + (3 * 2 * workers + 3 + 9) // 10
    assert [next(again).tolist() for _ in range(8)] == after[1:]
    assert second.state_dict()["pass"] >= position * 3 // 10
