"""Datasets made of datasets: one behind the other, repeated, or with rare classes repeated."""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NoReturn

import numpy as np
from torch.utils.data import ConcatDataset as _ConcatDataset

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import brief
from trainwright.data.base_dataset import BaseDataset, force_full_init, init_late
from trainwright.registry import DATASETS


class _Wrapper:
    """What the three share. They are no BaseDataset: a part of a wrapper is not well defined."""

    _metainfo: dict[str, Any]
    _fully_initialized = False

    @property
    def metainfo(self) -> dict[str, Any]:
        """A copy of what is known about the (first) wrapped dataset as a whole."""
        return copy.deepcopy(self._metainfo)

    def get_subset_(self, indices: int | Sequence[int]) -> NoReturn:
        """Not supported."""
        raise _no_subset(self)

    def get_subset(self, indices: int | Sequence[int]) -> NoReturn:
        """Not supported."""
        raise _no_subset(self)


class _OneWrapper(_Wrapper):
    """Of one dataset."""

    dataset: Any

    def _wrap(self, dataset: Any, lazy_init: bool) -> None:
        self.dataset = _built(dataset, f"dataset of {type(self).__name__}")
        self._metainfo = self.dataset.metainfo
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Read the annotations of the wrapped dataset, and choose from it; only once."""
        if self._fully_initialized:
            return
        self.dataset.full_init()
        self._choose()
        self._fully_initialized = True

    def _choose(self) -> None:
        raise NotImplementedError

    def _get_ori_dataset_idx(self, idx: int) -> int:
        raise NotImplementedError

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Annotation `idx`."""
        info: dict[str, Any] = self.dataset.get_data_info(self._get_ori_dataset_idx(idx))
        return info

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Categories of sample `idx`."""
        categories: list[int] = self.dataset.get_cat_ids(self._get_ori_dataset_idx(idx))
        return categories

    def __getitem__(self, idx: int) -> Any:
        if not self._fully_initialized:
            init_late(self)
        return self.dataset[self._get_ori_dataset_idx(idx)]


@DATASETS.register_module()
class ConcatDataset(_Wrapper, _ConcatDataset[Any]):
    """Datasets one behind the other, with the metainfo of the first.

    `datasets`: configs or BaseDatasets. Their metainfo must be equal, but for the keys in `ignore_keys`.
    """

    def __init__(
        self,
        datasets: Sequence[BaseDataset | dict[str, Any]],
        lazy_init: bool = False,
        ignore_keys: str | list[str] | None = None,
    ) -> None:
        if not isinstance(datasets, (list, tuple)) or not datasets:
            raise ConfigTypeError(f"datasets of ConcatDataset must be a list of one or more, got {brief(datasets)}")
        self.datasets: list[Any] = [_built(dataset, f"datasets[{n}]") for n, dataset in enumerate(datasets)]
        if not isinstance(ignore_keys, (str, list, type(None))):
            raise ConfigTypeError(f"ignore_keys must be a string or a list of strings, got {ignore_keys!r}")
        self.ignore_keys = [ignore_keys] if isinstance(ignore_keys, str) else ignore_keys or []
        self._metainfo = self.datasets[0].metainfo
        for n, dataset in enumerate(self.datasets):
            self._check_metainfo(n, dataset.metainfo)
        if not lazy_init:
            self.full_init()

    def _check_metainfo(self, n: int, other: dict[str, Any]) -> None:
        first = self._metainfo
        for key in [*first, *(key for key in other if key not in first)]:
            if key in self.ignore_keys or (key in first and key in other and _equal(first[key], other[key])):
                continue
            shown = [f"{brief(info[key], 60)}" if key in info else "nothing" for info in (first, other)]
            kind = ConfigTypeError if type(first.get(key)) is not type(other.get(key)) else ConfigError
            raise kind(
                f"the metainfo of datasets[{n}] differs from datasets[0]'s in {key!r}: {shown[1]} and {shown[0]}. "
                f"One metainfo stands for all: make them equal, or leave the key out by ignore_keys=[{key!r}]"
            )

    def full_init(self) -> None:
        """Read the annotations of all; only once."""
        if self._fully_initialized:
            return
        for dataset in self.datasets:
            dataset.full_init()
        self.cumulative_sizes = list(accumulate(len(dataset) for dataset in self.datasets))
        self._fully_initialized = True

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> tuple[int, int]:
        """Which dataset, and the index in it."""
        size = len(self)
        if idx < -size:
            raise ConfigError(f"index {idx} is out of range: the concatenated datasets have {size} samples")
        if idx >= size:
            raise IndexError(f"index {idx} is out of range: the concatenated datasets have {size} samples")
        idx = idx + size if idx < 0 else idx
        dataset_idx = bisect_right(self.cumulative_sizes, idx)
        return dataset_idx, idx - (self.cumulative_sizes[dataset_idx - 1] if dataset_idx else 0)

    @force_full_init
    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Annotation `idx`."""
        dataset_idx, sample_idx = self._get_ori_dataset_idx(idx)
        info: dict[str, Any] = self.datasets[dataset_idx].get_data_info(sample_idx)
        return info

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Categories of sample `idx`."""
        dataset_idx, sample_idx = self._get_ori_dataset_idx(idx)
        categories: list[int] = self.datasets[dataset_idx].get_cat_ids(sample_idx)
        return categories

    @force_full_init
    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, idx: int) -> Any:
        if not self._fully_initialized:
            init_late(self)
        dataset_idx, sample_idx = self._get_ori_dataset_idx(idx)
        return self.datasets[dataset_idx][sample_idx]


@DATASETS.register_module()
class RepeatDataset(_OneWrapper):
    """The dataset `times` times, one behind the other: fewer, longer epochs."""

    def __init__(self, dataset: BaseDataset | dict[str, Any], times: int, lazy_init: bool = False) -> None:
        self.times = times
        self._wrap(dataset, lazy_init)

    def _choose(self) -> None:
        self._ori_len = len(self.dataset)

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        """The index in the wrapped dataset."""
        if idx >= len(self):
            raise IndexError(f"index {idx} is out of range: the repeated dataset has {len(self)} samples")
        return idx % self._ori_len

    @force_full_init
    def __len__(self) -> int:
        return self.times * self._ori_len


@DATASETS.register_module()
class ClassBalancedDataset(_OneWrapper):
    """Samples of rare categories repeated (Gupta et al. 2019, LVIS).

    With f(c) the share of samples that have category c, a sample is there ceil(max over its c of
    max(1, sqrt(`oversample_thr` / f(c)))) times. The dataset's ``get_cat_ids(idx)`` says the categories of a sample.
    """

    def __init__(self, dataset: BaseDataset | dict[str, Any], oversample_thr: float, lazy_init: bool = False) -> None:
        self.oversample_thr = oversample_thr
        self._wrap(dataset, lazy_init)

    def _choose(self) -> None:
        factors = self._get_repeat_factors(self.dataset, self.oversample_thr)
        self.repeat_indices = [n for n, factor in enumerate(factors) for _ in range(math.ceil(factor))]

    def _get_repeat_factors(self, dataset: Any, repeat_thr: float) -> list[float]:
        """How often each sample is to be repeated."""
        size = len(dataset)
        categories = [set(dataset.get_cat_ids(idx)) for idx in range(size)]
        counts = Counter(category for found in categories for category in found)
        factors = {category: max(1.0, math.sqrt(repeat_thr / (n / size))) for category, n in counts.items()}
        return [max((factors[category] for category in found), default=1.0) for found in categories]

    @force_full_init
    def _get_ori_dataset_idx(self, idx: int) -> int:
        """The index in the wrapped dataset."""
        return self.repeat_indices[idx]

    @force_full_init
    def __len__(self) -> int:
        return len(self.repeat_indices)


def _built(dataset: Any, what: str) -> Any:
    if isinstance(dataset, dict):
        return DATASETS.build(dataset)
    if isinstance(dataset, (BaseDataset, _Wrapper)):
        return dataset
    raise ConfigTypeError(f"{what} must be a config or a BaseDataset, got {type(dataset).__name__}: {brief(dataset)}")


def _equal(first: Any, other: Any) -> bool:
    if type(first) is not type(other):
        return False
    return np.array_equal(first, other) if isinstance(first, np.ndarray) else bool(first == other)


def _no_subset(wrapper: Any) -> NotImplementedError:
    return NotImplementedError(
        f"{type(wrapper).__name__} has no get_subset and no get_subset_: it is not clear which samples of the wrapped "
        "dataset they would take. Set indices of that dataset, or call its get_subset before it is wrapped"
    )
