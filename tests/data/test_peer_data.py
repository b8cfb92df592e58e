"""Datasets, wrappers, samplers, collate functions and loaders beside MMEngine's: same inputs, same outputs."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import random
from collections import namedtuple
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from trainwright import data as ours
from trainwright.base.logs import MMLogger
from trainwright.data import sampler as our_sampler
from trainwright.registry import DATASETS
from trainwright.runner import Runner

pytestmark = [pytest.mark.peer, pytest.mark.filterwarnings("ignore")]  # MMEngine warns while it is imported

Pair = namedtuple("Pair", "image label")


@pytest.fixture
def theirs():
    pytest.importorskip("mmengine")
    from mmengine import dataset

    return dataset


@pytest.fixture(autouse=True)
def _quiet():
    with MMLogger("peer-data", log_level="ERROR").as_current():
        yield


def dataset_class(base: type) -> type:
    """The same subclass of either BaseDataset."""

    class Numbers(base):
        METAINFO = {"task": "numbers"}

        def __init__(self, size: int = 12, first: int = 0, **settings: Any) -> None:
            self.size, self.first = size, first
            super().__init__(**settings)

        def load_data_list(self) -> list[dict[str, Any]]:
            return [
                {"n": self.first + n, "array": np.arange(n), 3: None, "set": {n}, "pair": (n, b"x")}
                for n in range(self.size)
            ]

        def filter_data(self) -> list[dict[str, Any]]:
            least = (self.filter_cfg or {}).get("least", 0)
            return [info for info in self.data_list if info["n"] >= least]

        def get_cat_ids(self, idx: int) -> list[int]:
            n = self.get_data_info(idx)["n"]
            return [c for c in (2, 3, 7) if n % c == 0]

    return Numbers


@pytest.fixture
def both(theirs):
    """Our subclass and theirs."""
    return dataset_class(ours.BaseDataset), dataset_class(theirs.BaseDataset)


def told(dataset: Any) -> list[str]:
    return [repr(dataset.get_data_info(at)) for at in range(len(dataset))]


def odd(info: dict[str, Any]) -> dict[str, Any] | None:
    return info if info["n"] % 2 else None


SETTINGS = [
    {},
    {"indices": 5},
    {"indices": -4},
    {"indices": [3, 0, 3]},
    {"filter_cfg": {"least": 6}, "indices": 99},
    {"serialize_data": False},
    {"metainfo": {"classes": ["a"], "task": "x"}},
    {"data_root": "root", "ann_file": "a.json", "data_prefix": {"img": "i/", "seg": "/abs"}},
    {"data_root": "root/", "ann_file": "", "data_prefix": {"img": "", "web": "https://host/x"}},
    {"lazy_init": True, "test_mode": True, "max_refetch": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=[f"{n}" for n in range(len(SETTINGS))])
def test_base_dataset(both, settings):
    mine, other = (cls(**copy.deepcopy(settings)) for cls in both)
    for name in ("ann_file", "data_root", "data_prefix", "filter_cfg", "_indices", "_metainfo", "metainfo"):
        assert getattr(mine, name) == getattr(other, name)
    for name in ("serialize_data", "test_mode", "max_refetch", "data_list", "_fully_initialized"):
        assert repr(getattr(mine, name)) == repr(getattr(other, name))
    assert told(mine) == told(other)
    assert len(mine) == len(other)
    if mine.serialize_data:
        assert mine.data_bytes.tobytes() == other.data_bytes.tobytes()
        assert mine.data_address.tolist() == other.data_address.tolist()
        assert (mine.data_bytes.dtype, mine.data_address.dtype) == (other.data_bytes.dtype, other.data_address.dtype)


@pytest.mark.parametrize("serialize_data", [True, False])
@pytest.mark.parametrize("indices", [0, 1, 11, -1, -11, [], [0, 5, -1, 5], (2, 3), range(4)])
def test_subsets(both, serialize_data, indices):
    mine, other = (cls(serialize_data=serialize_data, pipeline=[odd]) for cls in both)
    if serialize_data and indices == 0:  # MMEngine's arrays of no type cannot be told apart from a mistake
        assert len(mine.get_subset(0)) == len(other.get_subset(0))
    assert told(mine.get_subset(indices)) == told(other.get_subset(indices))
    mine.get_subset_(indices), other.get_subset_(indices)
    assert told(mine) == told(other)


@pytest.mark.parametrize("serialize_data", [True, False])
def test_refetching(both, serialize_data):
    found = []
    for cls in both:
        dataset = cls(serialize_data=serialize_data, pipeline=[odd])
        np.random.seed(3)
        found.append([dataset[at]["n"] for at in range(12)])
    assert found[0] == found[1]


def test_annotation_files(theirs, tmp_path):
    path = tmp_path / "ann.json"
    raw = [{"img_path": f"{n}.jpg", "height": n, "instances": [{"bbox": [0.1 * n, 2], "label": n}]} for n in range(4)]
    path.write_text(json.dumps({"metainfo": {"classes": ["a"], "task": "file"}, "data_list": raw}))
    names = tmp_path / "names.txt"
    names.write_text("cat\r\ndog\n\nlast")
    settings = {
        "data_root": str(tmp_path),
        "ann_file": "ann.json",
        "data_prefix": {"img_path": "images"},
        "metainfo": {"palette": str(names), "plain": "text"},
        "pipeline": [lambda info: {**info, "seen": True}],
    }
    mine, other = ours.BaseDataset(**settings), theirs.BaseDataset(**settings)
    assert told(mine) == told(other)
    assert mine.metainfo == other.metainfo
    assert mine[1] == other[1]


def wrapped(package: Any, cls: type, kind: str) -> Any:
    """The same wrapper of either package."""
    parts = [cls(size=5), cls(size=0, serialize_data=False), cls(size=4, first=30)]
    return {
        "concat": lambda: package.ConcatDataset(parts),
        "concat_ignore": lambda: package.ConcatDataset(
            [cls(metainfo={"a": 1}), cls(metainfo={"a": 2})], ignore_keys="a"
        ),
        "repeat": lambda: package.RepeatDataset(cls(size=5), 3),
        "balanced_0.1": lambda: package.ClassBalancedDataset(cls(size=25), 0.1),
        "balanced_0.5": lambda: package.ClassBalancedDataset(cls(size=25), 0.5),
        "balanced_1.0": lambda: package.ClassBalancedDataset(cls(size=25), 1.0),
        "balanced_lazy": lambda: package.ClassBalancedDataset(cls(size=25), 0.9, lazy_init=True),
    }[kind]()


KINDS = ["concat", "concat_ignore", "repeat", "balanced_0.1", "balanced_0.5", "balanced_1.0", "balanced_lazy"]


@pytest.mark.parametrize("kind", KINDS)
def test_wrappers(theirs, both, kind):
    mine, other = wrapped(ours, both[0], kind), wrapped(theirs, both[1], kind)
    assert len(mine) == len(other)
    assert told(mine) == told(other)
    assert mine.metainfo == other.metainfo
    size = len(mine)
    assert [repr(mine[at]) for at in range(-size, size)] == [repr(other[at]) for at in range(-size, size)]
    assert [mine._get_ori_dataset_idx(at) for at in range(size)] == [
        other._get_ori_dataset_idx(at) for at in range(size)
    ]
    if kind.startswith("balanced"):
        assert mine.repeat_indices == other.repeat_indices
        assert mine._get_repeat_factors(mine.dataset, 0.7) == other._get_repeat_factors(other.dataset, 0.7)
        assert [mine.get_cat_ids(at) for at in range(size)] == [other.get_cat_ids(at) for at in range(size)]
    for method in ("get_subset", "get_subset_"):
        for dataset in (mine, other):
            with pytest.raises(NotImplementedError):
                getattr(dataset, method)(1)


METAINFOS = [
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {}),
    ({}, {"a": 1}),
    ({"a": [1]}, {"a": (1,)}),
    ({"a": np.arange(2)}, {"a": np.arange(3)}),
    ({"a": np.arange(2)}, {"a": np.arange(2)}),
    ({"a": 1, "b": [1]}, {"b": [1], "a": 1}),
]


@pytest.mark.parametrize(("first", "second"), METAINFOS, ids=[f"{n}" for n in range(len(METAINFOS))])
def test_what_concat_refuses(theirs, both, first, second):
    def outcome(package: Any, cls: type) -> Exception | None:
        try:
            package.ConcatDataset([cls(metainfo=first), cls(metainfo=second)])
        except (ValueError, TypeError, KeyError) as error:
            return error
        return None

    outcomes = [outcome(package, cls) for package, cls in zip((ours, theirs), both, strict=True)]
    assert (outcomes[0] is None) == (outcomes[1] is None)
    if outcomes[1] is not None and type(outcomes[1]) is not KeyError:
        assert isinstance(outcomes[0], type(outcomes[1]))


# samplers -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def as_rank(theirs, monkeypatch):
    from mmengine.dataset import sampler as their_sampler

    def be(rank: int, world_size: int) -> None:
        for module in (our_sampler, their_sampler):
            monkeypatch.setattr(module, "get_dist_info", lambda: (rank, world_size))

    return be


@pytest.mark.parametrize("size", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8, 40])
@pytest.mark.parametrize("shuffle", [True, False])
def test_samplers(theirs, as_rank, size, world_size, shuffle):
    for rank in sorted({0, 1, world_size // 2, world_size - 1} & set(range(world_size))):
        as_rank(rank, world_size)
        for round_up in (True, False):
            made = [m.DefaultSampler(range(size), shuffle, 5, round_up) for m in (ours, theirs)]
            for epoch in (0, 3):
                for sampler in made:
                    sampler.set_epoch(epoch)
                assert list(made[0]) == list(made[1])
            # A rank beyond the dataset's end has none; MMEngine's length there is of the same size, below zero.
            assert len(made[0]) == made[1].num_samples
            assert made[0].total_size == made[1].total_size
        endless = [m.InfiniteSampler(range(size), shuffle, 5) for m in (ours, theirs)]
        kept = []  # MMEngine's stream ends when an iterator over it is dropped
        for n in (3, 40):
            kept.append([iter(sampler) for sampler in endless])
            first, second = ([*itertools.islice(indices, n)] for indices in kept[-1])
            assert first == second
        assert len(endless[0]) == len(endless[1])


def test_a_sampler_draws_its_own_seed(theirs):
    for name in ("DefaultSampler", "InfiniteSampler"):
        seeds = []
        for package in (ours, theirs):
            np.random.seed(8)
            seeds.append(getattr(package, name)(range(4)).seed)
        assert seeds[0] == seeds[1]


# collate, pipeline, workers -------------------------------------------------------------------------------------------

SAMPLES = {
    "dict": [{"x": torch.ones(2) * n, "y": n, "s": "a", "f": 0.5 * n, "a": np.ones(2)} for n in range(3)],
    "tuple": [(torch.ones(1), n, "t") for n in range(2)],
    "list": [[n, [n, 2.5]] for n in range(2)],
    "named": [Pair(torch.ones(2), n) for n in range(2)],
    "nested": [{"a": {"b": [(n, {"c": torch.zeros(1)})]}} for n in range(2)],
    "numbers": [1, 2, 3],
    "strings": ["a", "b"],
    "bytes": [b"a", b"b"],
    "range": [range(2), range(2)],
    "bool": [True, False],
    "array": [np.ones((2, 2)), np.zeros((2, 2))],
    "scalar": [np.float32(1), np.float32(2)],
}


@pytest.mark.parametrize("kind", sorted(SAMPLES))
@pytest.mark.parametrize("name", ["pseudo_collate", "default_collate"])
def test_collate(theirs, name, kind):
    mine, other = getattr(ours, name)(SAMPLES[kind]), getattr(theirs, name)(SAMPLES[kind])
    assert type(mine) is type(other)
    assert repr(mine) == repr(other)


@pytest.mark.parametrize("name", ["pseudo_collate", "default_collate"])
def test_collate_refuses_unequal_lengths(theirs, name):
    for package in (ours, theirs):
        with pytest.raises(RuntimeError):
            getattr(package, name)([[1], [1, 2]])


def test_compose(theirs):
    for transforms in ([abs, lambda x: x + 1], [], None, [lambda x: None, abs]):
        assert ours.Compose(transforms)(-3) == theirs.Compose(transforms)(-3)
    for package in (ours, theirs):
        with pytest.raises(TypeError):
            package.Compose([3])


def test_worker_init_fn(theirs):
    drawn = []
    for package in (ours, theirs):
        package.worker_init_fn(2, num_workers=3, rank=4, seed=100)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]


# loaders --------------------------------------------------------------------------------------------------------------


def collate_with(samples: Any, extra: int) -> Any:
    return extra, samples


def init_with(worker_id: int, extra: int) -> None:
    random.seed(worker_id + extra)


LOADERS = [
    {"batch_size": 3, "sampler": {"type": "DefaultSampler", "shuffle": True}},
    {"batch_size": 3, "sampler": {"type": "InfiniteSampler"}, "drop_last": True},
    {"batch_size": 2, "sampler": {"type": "DefaultSampler"}, "collate_fn": {"type": "default_collate"}},
    {"batch_size": 2, "sampler": {"type": "DefaultSampler"}, "collate_fn": {"type": collate_with, "extra": 3}},
    {"batch_size": 2, "sampler": {"type": "DefaultSampler"}, "collate_fn": partial(collate_with, extra=4)},
    {"batch_size": 2, "sampler": {"type": "DefaultSampler"}, "num_batch_per_epoch": 3},
    {"batch_size": 2, "sampler": {"type": "DefaultSampler"}, "num_workers": 2, "persistent_workers": True},
    {"batch_size": 5, "sampler": {"type": "DefaultSampler"}, "num_workers": 1, "drop_last": True, "prefetch_factor": 3},
    {"batch_size": 2, "sampler": {"type": "DefaultSampler"}, "num_workers": 1, "disable_subprocess_warning": True},
    {
        "batch_size": 2,
        "sampler": {"type": "DefaultSampler"},
        "num_workers": 1,
        "worker_init_fn": {"type": init_with, "extra": 3},
    },
]


class Draws:
    """What a sample draws, from all three streams."""

    def __call__(self, info: dict[str, Any]) -> dict[str, Any]:
        return {"n": info["n"], "drawn": [random.random(), np.random.rand(), torch.rand(1).item()]}


@pytest.mark.parametrize("cfg", LOADERS, ids=[f"{n}" for n in range(len(LOADERS))])
@pytest.mark.parametrize("diff_rank_seed", [False, True])
def test_loaders(theirs, both, cfg, diff_rank_seed):
    """With MMEngine's randomness (``keyed=False``) every number of every batch."""
    from mmengine.registry import DATASETS as THEIR_DATASETS
    from mmengine.runner import Runner as TheirRunner

    found = []
    for registry, cls, build in (
        (DATASETS, both[0], partial(Runner.build_dataloader, keyed=False)),
        (THEIR_DATASETS, both[1], TheirRunner.build_dataloader),
    ):
        registry.register_module(name="PeerNumbers", force=True, module=cls)
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        settings = copy.deepcopy(cfg)
        settings.setdefault("num_workers", 0)
        settings["dataset"] = {"type": "PeerNumbers", "lazy_init": True, "pipeline": [Draws()]}
        loader = build(settings, 7, diff_rank_seed)
        assert getattr(loader.dataset, "_fully_initialized", True)
        batches = [*itertools.islice(iter(loader), 4)]
        facts = {
            name: getattr(loader, name)
            for name in ("num_workers", "batch_size", "drop_last", "persistent_workers", "prefetch_factor")
        }
        found.append((repr(batches), len(loader), facts, loader.sampler.seed))
        registry._module_dict.pop("PeerNumbers")
    assert found[0] == found[1]


def test_a_batch_sampler(theirs, both):
    from mmengine.registry import DATA_SAMPLERS as THEIR_SAMPLERS
    from mmengine.runner import Runner as TheirRunner
    from torch.utils.data import BatchSampler

    from trainwright.registry import DATA_SAMPLERS

    cfg = {
        "batch_size": 5,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "batch_sampler": {"type": "PeerBatchSampler", "drop_last": True},
    }
    orders = []
    for registry, cls, build in (
        (DATA_SAMPLERS, both[0], Runner.build_dataloader),
        (THEIR_SAMPLERS, both[1], TheirRunner.build_dataloader),
    ):
        registry.register_module(name="PeerBatchSampler", force=True, module=BatchSampler)
        loader = build({**copy.deepcopy(cfg), "dataset": cls(pipeline=[lambda info: info["n"]])}, 3)
        orders.append(list(loader))
        registry._module_dict.pop("PeerBatchSampler")
    assert orders[0] == orders[1]


def test_bytes_can_be_read_as_downstream_code_does(both):
    dataset = both[0]()
    start, end = dataset.data_address[2], dataset.data_address[3]
    assert pickle.loads(memoryview(dataset.data_bytes[start:end]))["n"] == 3
