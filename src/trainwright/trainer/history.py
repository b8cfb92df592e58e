"""The values of one scalar over the iterations, with windowed statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

_SMALL = 200  # values of which Python has the statistics faster than numpy, which needs an array


class HistoryBuffer:
    """Values with the iterations they were put at, at most ``max_length`` of them, oldest dropped first.

    API of fvcore's HistoryBuffer. That of MMEngine, where a value has a count, is trainwright.state.HistoryBuffer.
    """

    def __init__(self, max_length: int = 1_000_000) -> None:
        self._max_length = max_length
        self._values: list[float] = []
        self._iters: list[float] = []
        self._n_added = 0
        self._sum = 0.0  # of all values ever added, dropped ones too

    def update(self, value: float, iteration: float | None = None) -> None:
        """Append one value; without an iteration its place in the order of arrival stands for one."""
        self.extend([value], [self._n_added if iteration is None else iteration])

    def extend(self, values: Sequence[float], iterations: Iterable[float]) -> None:
        """Append many values at once."""
        self._values.extend(values)
        self._iters.extend(iterations)
        self._n_added += len(values)
        self._sum += sum(values)
        # Dropping is amortised: the lists are cut only when they have grown a quarter too long.
        if len(self._values) > self._max_length * 1.25 or len(self._values) > self._max_length < 64:
            del self._values[: -self._max_length]
            del self._iters[: -self._max_length]

    def __len__(self) -> int:
        return min(len(self._values), self._max_length)

    def latest(self) -> float:
        """The newest value."""
        return self._values[-1]

    def latest_iteration(self) -> float:
        """The iteration of the newest value."""
        return self._iters[-1]

    def median(self, window_size: int) -> float:
        """Of the last ``window_size`` values."""
        window = self._window(window_size)
        n, total = len(window), sum(window)
        if not 0 < n < _SMALL or total != total:  # NaN has no place in an order
            return float(np.median(window))
        window.sort()
        return window[n // 2] if n % 2 else (window[n // 2 - 1] + window[n // 2]) / 2

    def avg(self, window_size: int) -> float:
        """Of the last ``window_size`` values."""
        window = self._window(window_size)
        return sum(window) / len(window) if 0 < len(window) < _SMALL else float(np.mean(window))

    def global_avg(self) -> float:
        """Of all values ever added, those that were dropped too."""
        return self._sum / self._n_added if self._n_added else 0.0

    def _window(self, window_size: int) -> list[float]:
        return self._values[-min(window_size, self._max_length) :]

    def values(self) -> list[tuple[float, float]]:
        """``(value, iteration)`` of all kept values."""
        return list(zip(self._window(self._max_length), self._iters[-self._max_length :], strict=True))

    def n_since(self, iteration: float) -> int:
        """How many of the newest values were put after ``iteration``, up to the first that was not."""
        newest = islice(reversed(self._iters), len(self))
        return next((n for n, at in enumerate(newest) if at <= iteration), len(self))

    def state_dict(self) -> dict[str, Any]:
        """Values (n,) and iterations (n,) as float64 tensors, and what stands for the dropped ones."""
        return {
            "values": torch.tensor(self._window(self._max_length), dtype=torch.float64),
            "iterations": torch.tensor(self._iters[-self._max_length :], dtype=torch.float64),
            "n_added": self._n_added,
            "sum": self._sum,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved values."""
        self._values = state["values"].tolist()
        self._iters = [int(at) if at.is_integer() else at for at in state["iterations"].tolist()]
        self._n_added = int(state["n_added"])
        self._sum = float(state["sum"])
