"""Datasets made of others, samplers, and how samples become a batch."""

import copy
import random
from unittest import mock

import numpy as np
import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def toys():
    """``toys(name, **settings)`` makes a dataset of three samples that are called so; registered as ToysOfWrappers."""
    from mmengine.dataset import BaseDataset
    from mmengine.registry import DATASETS

    class ToysOfWrappers(BaseDataset):
        def __init__(self, name, **settings):
            self.name = name
            super().__init__(**settings)
            self.pipeline = lambda data: {"imgs": torch.full((2,), float(name)), **data}

        def load_data_list(self):
            return [{"name": self.name} for _ in range(3)]

        def get_cat_ids(self, idx):
            return [0]

    DATASETS.register_module(module=ToysOfWrappers, force=True)
    yield ToysOfWrappers
    DATASETS.module_dict.pop("ToysOfWrappers")


def _has_no_subsets(dataset):
    for method in (dataset.get_subset, dataset.get_subset_):
        with pytest.raises(NotImplementedError):
            method(1)


def test_concat(toys):
    from mmengine.dataset import ConcatDataset

    first, second = toys(1), toys(2)
    both = ConcatDataset([first, {"type": "ToysOfWrappers", "name": 2}])
    assert len(both) == 6
    assert both.metainfo == first.metainfo
    assert both.get_data_info(0) == first.get_data_info(0)
    assert both.get_data_info(-1) == second.get_data_info(-1)
    assert (both[-1]["imgs"] == second[-1]["imgs"]).all()
    assert both._get_ori_dataset_idx(3) == (1, 0)
    assert both._get_ori_dataset_idx(-5) == (0, 1)
    with pytest.raises(ValueError, match="-10|exceed"):
        both._get_ori_dataset_idx(-10)
    both.full_init()
    both._fully_initialized = False
    assert both[1]["name"] == 1
    assert len(both) == 6
    _has_no_subsets(both)
    for settings in ({"datasets": [0]}, {"datasets": [first, second], "ignore_keys": 1}):
        with pytest.raises(TypeError):
            ConcatDataset(**settings)


def test_concat_of_different_metainfo(toys):
    from mmengine.dataset import ConcatDataset

    first, second = toys(1), toys(2, metainfo={"classes": ("cat",)})
    for settings in (
        {"datasets": [first, second]},
        {"datasets": [second, first]},
        {"datasets": [first, second], "ignore_keys": ["a"]},
    ):
        with pytest.raises(ValueError, match="meta"):
            ConcatDataset(**settings)
    both = ConcatDataset([first, second], ignore_keys="classes")
    assert (len(both), both.metainfo) == (6, {})


def test_repeat(toys):
    from mmengine.dataset import RepeatDataset

    dataset = toys(1)
    for given in (dataset, {"type": "ToysOfWrappers", "name": 1}):
        repeated = RepeatDataset(given, times=5)
        assert len(repeated) == 15
        assert repeated.metainfo == dataset.metainfo
        assert [repeated.get_data_info(n) for n in range(15)] == [dataset.get_data_info(n % 3) for n in range(15)]
        repeated._fully_initialized = False
        assert (repeated[14]["imgs"] == dataset[2]["imgs"]).all()
        _has_no_subsets(repeated)
    with pytest.raises(TypeError):
        RepeatDataset([0], times=5)


def test_class_balanced(toys):
    from mmengine.dataset import ClassBalancedDataset

    dataset, indices = toys(1), [0, 0, 1, 1, 1]
    for given in (dataset, {"type": "ToysOfWrappers", "name": 1}):
        balanced = ClassBalancedDataset(given, oversample_thr=1e-3)
        balanced.repeat_indices = indices
        assert len(balanced) == len(indices)
        assert balanced.metainfo == dataset.metainfo
        for n, index in enumerate(indices):
            assert balanced.get_data_info(n) == dataset.get_data_info(index)
            assert balanced.get_cat_ids(n) == dataset.get_cat_ids(index)
        balanced._fully_initialized = False
        balanced.repeat_indices = indices
        assert len(balanced) == 3  # counted again
        _has_no_subsets(balanced)
    with pytest.raises(TypeError):
        ClassBalancedDataset([0], oversample_thr=1e-3)


ITEMS = list(range(100))


@pytest.fixture
def ranks():
    """``with ranks(2, 3):`` a sampler is that of rank 2 of 3."""
    return lambda rank, size: mock.patch("mmengine.dataset.sampler.get_dist_info", return_value=(rank, size))


def test_default_sampler(ranks):
    from mmengine.dataset import DefaultSampler

    with ranks(0, 1), mock.patch("mmengine.dataset.sampler.sync_random_seed", return_value=7):
        for round_up in (True, False):
            sampler = DefaultSampler(ITEMS, round_up=round_up, shuffle=False)
            assert (sampler.rank, sampler.world_size, sampler.total_size, sampler.num_samples) == (0, 1, 100, 100)
            assert list(sampler) == ITEMS
        assert DefaultSampler(ITEMS, seed=None).seed == 7
        sampler = DefaultSampler(ITEMS, shuffle=True, seed=0)
        sampler.set_epoch(10)
        assert list(sampler) == torch.randperm(100, generator=torch.Generator().manual_seed(10)).tolist()
    with ranks(2, 3):
        sampler = DefaultSampler(ITEMS, round_up=True, shuffle=False)
        assert (sampler.num_samples, sampler.total_size, len(sampler)) == (34, 102, 34)
        assert list(sampler) == [*ITEMS[2::3], 1]
        sampler = DefaultSampler(ITEMS, round_up=False, shuffle=False)
        assert (sampler.num_samples, sampler.total_size, len(sampler)) == (33, 100, 33)
        assert list(sampler) == ITEMS[2::3]


def test_infinite_sampler(ranks):
    from mmengine.dataset import InfiniteSampler

    def first(sampler, count):
        stream = iter(sampler)
        return [next(stream) for _ in range(count)]

    with ranks(0, 1), mock.patch("mmengine.dataset.sampler.sync_random_seed", return_value=7):
        sampler = InfiniteSampler(ITEMS, shuffle=False)
        assert (sampler.rank, sampler.world_size, len(sampler)) == (0, 1, 100)
        assert first(sampler, 200) == ITEMS * 2
        assert InfiniteSampler(ITEMS, seed=None).seed == 7
        shuffled = first(InfiniteSampler(ITEMS, shuffle=True, seed=42), 100)
        assert shuffled == torch.randperm(100, generator=torch.Generator().manual_seed(42)).tolist()
        sampler.set_epoch(10)
    with ranks(2, 3):
        assert first(InfiniteSampler(ITEMS, shuffle=False), 66) == (ITEMS * 2)[2::3]


def _pair(name):
    from mmengine.structures import BaseDataElement

    sample = BaseDataElement(label=torch.tensor(1))
    return {
        "inputs": torch.randn(1, 3, 5),
        "data_sample": sample,
        "value": 1,
        "array": np.array(1),
        "name": name,
        "nested": {"data_sample": sample},
    }


def test_pseudo_collate():
    from mmengine.dataset import pseudo_collate

    a, b = _pair("a"), _pair("b")
    batch = pseudo_collate([copy.copy(a), copy.copy(b)])
    assert batch["inputs"][0] is a["inputs"]
    assert batch["data_sample"][1] is b["data_sample"]
    batch = pseudo_collate([(a, b), (a, b)])
    assert isinstance(batch, list)
    assert batch[0]["inputs"][1] is a["inputs"]
    assert batch[1]["nested"]["data_sample"][0] is b["data_sample"]
    assert (list(batch[0]["value"]), list(batch[1]["name"])) == ([1, 1], ["b", "b"])
    with pytest.raises(RuntimeError):
        pseudo_collate([(1, 2), (1,)])


def test_default_collate():
    from mmengine.dataset import default_collate

    a, b = _pair("a"), _pair("b")
    batch = default_collate([(a, b), (a, b)])
    assert batch[0]["inputs"].shape == (2, 1, 3, 5)
    assert isinstance(batch[0]["value"], torch.Tensor)
    assert isinstance(batch[0]["array"], torch.Tensor)
    assert list(batch[1]["name"]) == ["b", "b"]
    assert batch[0]["nested"]["data_sample"][1] is a["data_sample"]
    with pytest.raises(RuntimeError):
        default_collate([(1, 2), (1,)])


def test_a_worker_begins():
    from mmengine.dataset import worker_init_fn

    numpy_state, python_state, torch_state = np.random.get_state(), random.getstate(), torch.get_rng_state()
    try:
        worker_init_fn(worker_id=1, num_workers=2, rank=3, seed=42, disable_subprocess_warning=False)
        drawn = np.random.rand(), random.random(), torch.rand(1).item()
        for seed in (np.random.seed, random.seed, torch.manual_seed):
            seed(2 * 3 + 1 + 42)
        assert drawn == (np.random.rand(), random.random(), torch.rand(1).item())
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        torch.set_rng_state(torch_state)
