"""Which ranks see different samples: what divides them, and what brings together what was found of each."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.data import DefaultSampler, InfiniteSampler, build_dataloader
from trainwright.engine.loops.losses import LossMeter
from trainwright.evaluation import Accuracy
from trainwright.testing.ranks import run_ranks
from trainwright.testing.toys import toy_loader


def test_one_process_has_all_the_data():
    assert dist.data_info() == (0, 1)
    assert dist.data_group() is None
    assert dist.has_main()
    assert dist.data_axis(1) is None


def _seen_on_a_rank(tensor_size: int, folder: str) -> dict[str, Any]:
    dist.set_data_axis(dist.data_axis(tensor_size))
    assert dist.data_axis(tensor_size) is dist.data_group()  # made once
    rank, size = dist.data_info()
    data = range(10)
    stream = iter(InfiniteSampler(data, shuffle=False))
    loader = build_dataloader({**toy_loader(10, 2), "num_batch_per_epoch": 2}, seed=1)
    own = list(range(rank, 10, size))
    meter = LossMeter()
    meter.add({"loss": torch.tensor(float(rank))}, 1 + rank)
    accuracy = Accuracy()
    accuracy.process({"label": torch.zeros(len(own), dtype=torch.long)}, [{"scores": _scores(n)} for n in own])
    found = {
        "info": (rank, size, dist.has_main()),
        "samples": list(DefaultSampler(data, shuffle=False)),
        "stream": [next(stream) for _ in range(3)],
        "per_step": loader.state_dict()["samples_per_step"],
        "cut": len(loader.dataset),
        "results": dist.collect_results(own, 10),
        "files": dist.collect_results(own, 10, tmpdir=folder),
        "loss": meter.means(),
        "accuracy": accuracy.evaluate(10),
        "process": dist.get_dist_info(),
        "streams": [dist.item_of_rank(list(items), size, any_will_do) for items, size, any_will_do in STREAMS],
        "is_same": [dist.is_same_layout(4, 2), dist.is_same_layout(4, None), dist.is_same_layout(2, 2)],
    }
    dist.set_data_axis(None)
    return {**found, "after": dist.data_info()}


# What ranks saved, how many of them had different samples, and whether another rank's will do.
STREAMS = [
    ("abcd", 2, False),
    ("ab", None, False),
    ("abcd", None, False),
    ("a", 1, False),
    ("a", 1, True),
    ("", None, True),
]


def _scores(sample: int) -> torch.Tensor:
    return torch.tensor([1.0, 0.0] if sample < 7 else [0.0, 1.0])


def test_ranks_of_a_tensor_group_share_their_samples(tmp_path):
    found = run_ranks(4, _seen_on_a_rank, 2, f"{tmp_path}/parts")
    assert [one["info"] for one in found] == [(0, 2, True), (0, 2, False), (1, 2, True), (1, 2, False)]
    for rank, one in enumerate(found):
        data_rank = rank // 2
        assert one["samples"] == list(range(data_rank, 10, 2))
        assert one["stream"] == [data_rank, data_rank + 2, data_rank + 4]
        assert (one["per_step"], one["cut"]) == (4, 8)
        own = ["a", "b"][data_rank]
        assert one["streams"] == ["abcd"[rank], own, own, "a" if data_rank == 0 else None, "a", None]
        assert one["is_same"] == [True, False, False]
        assert one["loss"] == {"loss": pytest.approx(2 / 3)}
        assert one["accuracy"] == {"accuracy/top1": 70.0}
        assert (one["process"], one["after"]) == ((rank, 4), (rank, 4))
        expected = list(range(10)) if rank == 0 else None
        assert (one["results"], one["files"]) == (expected, expected)


def test_one_tensor_group_reads_everything_on_each_rank(tmp_path):
    found = run_ranks(2, _seen_on_a_rank, 2, f"{tmp_path}/parts")
    assert [one["info"] for one in found] == [(0, 1, True), (0, 1, False)]
    assert [one["results"] for one in found] == [list(range(10)), None]
    assert found[0]["samples"] == found[1]["samples"] == list(range(10))


def _refusals() -> list[str]:
    texts = []
    for size in (3, True):
        with pytest.raises(ConfigError) as error:
            dist.data_axis(size)
        texts.append(str(error.value))
    dist.set_data_axis(dist.data_axis(2))
    sampler = DistributedSampler(list(range(4)))
    with pytest.raises(ConfigError) as error:
        build_dataloader({"dataset": list(range(4)), "sampler": sampler, "batch_size": 1}, seed=1)
    mended = DistributedSampler(list(range(4)), num_replicas=1, rank=0)
    build_dataloader({"dataset": list(range(4)), "sampler": mended, "batch_size": 1}, seed=1)
    build_dataloader(DataLoader(list(range(4)), sampler=mended))
    with pytest.raises(ConfigError, match="DistributedSampler divides the samples among 2 ranks"):
        build_dataloader(DataLoader(list(range(4)), sampler=sampler))
    return [*texts, str(error.value)]


def test_what_does_not_fit_the_axis_is_refused():
    for texts in run_ranks(2, _refusals):
        assert "size=3 do not divide the 2 ranks of this run" in texts[0]
        assert "size=True do not divide" in texts[1]
        assert "DistributedSampler divides the samples among 2 ranks" in texts[2]
        assert "rank=0 and size=1 from trainwright.dist.data_info()" in texts[2]
