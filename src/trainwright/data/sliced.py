"""The head of a dataset."""

from __future__ import annotations

from typing import Any


class SlicedDataset:
    """The first `length` samples of `dataset`, or all if it has fewer; other attributes are the dataset's own."""

    def __init__(self, dataset: Any, length: int) -> None:
        self._dataset = dataset
        self._length = min(length, len(dataset))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_dataset":  # not yet unpickled
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index]

    def __len__(self) -> int:
        return self._length
