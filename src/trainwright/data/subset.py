"""Parts of an annotation list: its first or last few, or chosen ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainwright.base.errors import ConfigTypeError, RuleError
from trainwright.data.records import Arrays

Indices = int | Sequence[int]


def span(address: np.ndarray[Any, Any], index: int) -> tuple[int, int]:
    """First byte and end of record `index`, which may count from the end; IndexError where there is none."""
    n = len(address)
    if not -n <= index < n:
        raise IndexError(f"index {index} is out of range: the dataset has {n} samples")
    index %= n
    return int(address[index - 1]) if index else 0, int(address[index])


def of_bytes(arrays: Arrays, indices: Indices) -> Arrays:
    """The records `indices` of (data_bytes, data_address); the first or last few are not copied."""
    data, address = arrays
    check(indices, len(address))
    if isinstance(indices, int):
        if indices >= 0:
            return data[: int(address[indices - 1]) if indices else 0], address[:indices]
        start = span(address, indices)[0]
        return data[start:], address[indices:] - start
    spans = [span(address, index) for index in indices]
    parts = [np.asarray(data[start:end]) for start, end in spans]
    ends = np.cumsum(np.array([end - start for start, end in spans], np.int64), dtype=np.int64)
    return np.concatenate(parts) if parts else np.empty(0, np.uint8), ends


def of_list(records: list[Any], indices: Indices) -> list[Any]:
    """The records `indices` of a list; more of the first or last than there are means all."""
    if isinstance(indices, int):
        return records[:indices] if indices >= 0 else records[indices:]
    check(indices, len(records))
    return [records[index] for index in indices]


def check(indices: Any, size: int) -> None:
    """Raise the error for indices that are none of a dataset of `size` samples."""
    if isinstance(indices, int):
        wrong: Any = None if -size <= indices <= size else indices
        rule = f"an integer between -{size} and {size} takes the first or last so many"
    elif isinstance(indices, Sequence) and not isinstance(indices, (str, bytes)):
        wrong = next((index for index in indices if not -size <= index < size), None)
        rule = f"indices are between -{size} and {size - 1}"
    else:
        raise ConfigTypeError(
            f"indices must be an integer or a sequence of integers, got {type(indices).__name__}; an array has tolist()"
        )
    if wrong is not None:
        raise RuleError(f"index {wrong} is outside the dataset, which has {size} samples: {rule}")
