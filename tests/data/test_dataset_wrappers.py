"""ConcatDataset, RepeatDataset, ClassBalancedDataset."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.data import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from trainwright.registry import DATASETS


class Part(BaseDataset):
    """`size` numbers from `first` on, each of the categories it is told."""

    def __init__(self, size: int = 3, first: int = 0, cats: Any = None, **settings: Any) -> None:
        self.size, self.first, self.cats = size, first, cats
        super().__init__(**settings)

    def load_data_list(self) -> list[dict[str, Any]]:
        return [{"n": self.first + n} for n in range(self.size)]

    def get_cat_ids(self, idx: int) -> list[int]:
        return self.cats[idx]

    def prepare_data(self, idx: int) -> int:
        return self.get_data_info(idx)["n"]


@pytest.fixture(autouse=True)
def registered():
    DATASETS.register_module(name="PartForTest", force=True, module=Part)
    yield
    DATASETS._module_dict.pop("PartForTest", None)


def test_concat():
    dataset = ConcatDataset([Part(2, cats=[[0], [1]]), {"type": "PartForTest", "size": 0}, Part(3, 10, cats=[[5]] * 3)])
    assert len(dataset) == 5
    assert [dataset[at] for at in range(-5, 5)] == [0, 1, 10, 11, 12] * 2
    assert list(dataset) == [0, 1, 10, 11, 12]
    assert dataset.get_data_info(3) == {"n": 11, "sample_idx": 1}
    assert dataset.get_cat_ids(-1) == [5]
    assert dataset._get_ori_dataset_idx(2) == (2, 0)
    assert dataset.cumulative_sizes == [2, 2, 5]
    with pytest.raises(ConfigError, match="index -6 is out of range: the concatenated datasets have 5 samples"):
        dataset[-6]
    with pytest.raises(IndexError, match="index 5 is out of range"):
        dataset[5]


def test_repeat():
    dataset = RepeatDataset({"type": "PartForTest", "size": 3, "metainfo": {"a": 1}}, times=2)
    assert len(dataset) == 6
    assert list(dataset) == [0, 1, 2, 0, 1, 2]
    assert dataset[-1] == 2
    assert dataset.get_data_info(4) == {"n": 1, "sample_idx": 1}
    assert dataset.metainfo == {"a": 1}
    with pytest.raises(IndexError, match="index 6 is out of range: the repeated dataset has 6 samples"):
        dataset[6]
    assert list(RepeatDataset(Part(0), times=2)) == []


def test_class_balanced():
    # Category 1 is in 1 of 4 samples: sqrt(1 / 0.25) = 2.
    dataset = ClassBalancedDataset(Part(4, cats=[[0], [0, 1], [0], []]), oversample_thr=1.0)
    assert dataset.repeat_indices == [0, 0, 1, 1, 2, 2, 3]  # category 0: sqrt(1 / 0.75), rounded up
    assert list(dataset) == dataset.repeat_indices
    assert len(dataset) == 7
    assert dataset.get_cat_ids(2) == [0, 1]
    assert dataset.get_data_info(6)["n"] == 3
    assert ClassBalancedDataset(Part(2, cats=[[0], [1]]), 0.1).repeat_indices == [0, 1]


def test_class_balanced_needs_categories():
    class Without(Part):
        get_cat_ids = BaseDataset.get_cat_ids

    with pytest.raises(NotImplementedError, match="Without has no get_cat_ids.*which ClassBalancedDataset"):
        ClassBalancedDataset(Without(), 0.1)


def test_wrappers_of_wrappers():
    inner = ConcatDataset([Part(2, cats=[[0]] * 2), Part(1, 7, cats=[[1]])])
    dataset = RepeatDataset(ClassBalancedDataset(inner, 1.0), 2)
    assert list(dataset) == [0, 0, 1, 1, 7, 7] * 2
    assert dataset.get_cat_ids(-1) == [1]


@pytest.mark.parametrize(
    ("make", "length"),
    [
        (lambda part: ConcatDataset([part, part], lazy_init=True), 6),
        (lambda part: RepeatDataset(part, 3, lazy_init=True), 9),
        (lambda part: ClassBalancedDataset(part, 0.1, lazy_init=True), 3),
    ],
    ids=["concat", "repeat", "balanced"],
)
def test_lazy_init_reads_nothing_before_it_must(make, length, caplog):
    uses = [len, lambda d: d[0], lambda d: d.get_data_info(0), lambda d: d._get_ori_dataset_idx(0)]
    for use in uses:
        part = Part(lazy_init=True, cats=[[0]] * 3)
        dataset = make(part)
        assert not part._fully_initialized
        assert dataset.metainfo == {}
        with caplog.at_level(logging.WARNING):
            use(dataset)
        assert part._fully_initialized
        assert dataset._fully_initialized
        assert len(dataset) == length


def test_metainfo_is_the_first_ones_copy():
    dataset = ConcatDataset([Part(metainfo={"a": [1]}), Part(metainfo={"a": [1]})])
    dataset.metainfo["a"].append(2)
    assert dataset.metainfo == {"a": [1]}


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        ({"a": 1}, {"a": 2}, ConfigError, r"datasets\[1\] differs from datasets\[0\]'s in 'a': 2 and 1.*ignore_keys"),
        ({"a": 1}, {}, ConfigError, r"in 'a': nothing and 1"),
        ({}, {"b": 1}, ConfigError, r"in 'b': 1 and nothing"),
        ({"a": [1]}, {"a": (1,)}, ConfigTypeError, r"in 'a': \(1,\) and \[1\]"),
        ({"a": np.arange(2)}, {"a": np.arange(3)}, ConfigError, "in 'a'"),
    ],
)
def test_metainfo_that_differs(first, second, error, message):
    datasets = [Part(metainfo=first), Part(metainfo=second)]
    with pytest.raises(error, match=message):
        ConcatDataset(datasets)
    key = next(iter({**first, **second}))
    assert len(ConcatDataset(datasets, ignore_keys=key)) == len(ConcatDataset(datasets, ignore_keys=[key])) == 6


def test_equal_arrays_are_equal():
    assert len(ConcatDataset([Part(metainfo={"a": np.arange(3)}) for _ in range(2)])) == 6


@pytest.mark.parametrize("dataset", [range(3), None, "PartForTest"])
def test_what_is_no_dataset(dataset):
    with pytest.raises(ConfigTypeError, match=r"datasets\[1\] must be a config or a BaseDataset, got"):
        ConcatDataset([Part(), dataset])
    with pytest.raises(ConfigTypeError, match="dataset of RepeatDataset must be a config or a BaseDataset, got"):
        RepeatDataset(dataset, 2)
    with pytest.raises(ConfigTypeError, match="dataset of ClassBalancedDataset must be a config"):
        ClassBalancedDataset(dataset, 0.1)


def test_bad_settings():
    for wrong in ([], Part(), {"type": "PartForTest"}):
        with pytest.raises(ConfigTypeError, match="datasets of ConcatDataset must be a list of one or more, got "):
            ConcatDataset(wrong)
    with pytest.raises(ConfigTypeError, match="ignore_keys must be a string or a list of strings, got 3"):
        ConcatDataset([Part()], ignore_keys=3)


def test_no_parts_of_wrappers():
    for dataset in (ConcatDataset([Part()]), RepeatDataset(Part(), 2), ClassBalancedDataset(Part(cats=[[0]] * 3), 0.1)):
        for method in (dataset.get_subset, dataset.get_subset_):
            with pytest.raises(NotImplementedError, match=f"{type(dataset).__name__} has no get_subset and"):
                method(2)
