"""The values of one logged name over time, with windowed statistics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError, RuleTypeError
from trainwright.base.text import did_you_mean

_BUILTIN = ("mean", "max", "min", "current")
Array = np.ndarray[Any, np.dtype[Any]]


class HistoryBuffer:
    """Values and their counts, at most ``max_length`` of them, oldest dropped first (API of MMEngine's HistoryBuffer).

    A count is the number of samples that a value stands for; ``mean`` divides the sum of values by the sum of counts.
    """

    _statistics: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(
        self,
        log_history: Iterable[float] = (),
        count_history: Iterable[float] = (),
        max_length: int = 1_000_000,
    ) -> None:
        self.max_length = max_length
        self._n_dropped = 0
        self._values: list[float] = _numbers(log_history)
        self._counts: list[float] = _numbers(count_history)
        if len(self._values) != len(self._counts):
            raise RuleError(
                f"HistoryBuffer got {len(self._values)} values and {len(self._counts)} counts: the two must be as long."
            )
        if len(self._values) > max_length:
            warnings.warn(
                f"HistoryBuffer got {len(self._values)} values, more than its max_length of {max_length}: the oldest "
                "are left out.",
                stacklevel=2,
            )
        self._trim()

    def _trim(self) -> None:
        # Dropping is amortised: lists are cut only when they have grown a quarter too long.
        if len(self._values) > self.max_length * 1.25 or (len(self._values) > self.max_length < 64):
            self._n_dropped += len(self._values) - self.max_length
            del self._values[: -self.max_length]
            del self._counts[: -self.max_length]

    def update(self, log_val: float, count: float = 1) -> None:
        """Append one value that stands for ``count`` samples; both are numbers."""
        for name, number in (("log_val", log_val), ("count", count)):
            if not isinstance(number, (int, float, np.number)):
                raise ConfigTypeError(
                    f"HistoryBuffer.update {name} must be a number, but got {number!r} of type {type(number).__name__}."
                )
        values = self._values
        values.append(float(log_val))
        self._counts.append(count)
        if len(values) > self.max_length:
            self._trim()

    def extend(self, values: Iterable[float], counts: Iterable[float]) -> None:
        """Append many values at once, as a flush of the metric store does."""
        self._values.extend(values)
        self._counts.extend(counts)
        self._trim()

    @property
    def data(self) -> tuple[Array, Array]:
        """The kept values and counts as two float64 arrays of the same length."""
        values = np.asarray(self._values[-self.max_length :], dtype=np.float64)
        return values, np.asarray(self._counts[-self.max_length :], dtype=np.float64)

    @property
    def _log_history(self) -> Array:
        """What a statistic that was written for MMEngine reads."""
        return self.data[0]

    @property
    def _count_history(self) -> Array:
        return self.data[1]

    @property
    def n_added(self) -> int:
        """Values added so far, with those that were dropped since."""
        return self._n_dropped + len(self._values)

    def truncate(self, n_added: int) -> None:
        """Forget what was added after the first ``n_added`` values."""
        keep = max(n_added - self._n_dropped, 0)
        del self._values[keep:]
        del self._counts[keep:]

    def __len__(self) -> int:
        return min(len(self._values), self.max_length)

    @classmethod
    def method(cls, name: str) -> Callable[..., Any] | None:
        """The function of the statistic ``name``, which takes a buffer first; None when there is none."""
        found: Callable[..., Any] | None = getattr(cls, name) if name in _BUILTIN else cls._statistics.get(name)
        return found

    @classmethod
    def known_statistics(cls) -> list[str]:
        """The names that :meth:`statistics` takes."""
        return [*_BUILTIN, *cls._statistics]

    @classmethod
    def register_statistics(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make ``method(buffer, *args)`` available to :meth:`statistics` under its own name; for use as a decorator.

        A name that is taken is a ConfigError.
        """
        name = method.__name__
        if name in _BUILTIN or cls._statistics.get(name, method) is not method:
            raise ConfigError(f"HistoryBuffer has a statistic {name!r} already: give the function another name.")
        cls._statistics[name] = method
        return method

    def statistics(self, method_name: str, *args: Any, **kwargs: Any) -> Any:
        """The statistic of that name: mean, max, min, current, or a registered one."""
        method = self.method(method_name)
        if method is None:
            known = self.known_statistics()
            raise KeyError(
                f"{method_name!r} is no statistic of HistoryBuffer; known: {', '.join(known)}."
                f"{did_you_mean(method_name, known)}"
            )
        return method(self, *args, **kwargs)

    def _window(self, window_size: int | None) -> tuple[list[float], list[float]]:
        if not self._values:
            raise ValueError("HistoryBuffer is empty: nothing was logged under this name yet.")
        if window_size is not None and not isinstance(window_size, int):
            raise RuleTypeError(f"window_size must be a whole number or None, but got {window_size!r}.")
        size = self.max_length if window_size is None else min(window_size, self.max_length)
        return self._values[-size:], self._counts[-size:]

    def mean(self, window_size: int | None = None) -> float:
        """Sum of values over sum of counts in the last ``window_size`` entries (all when None)."""
        values, counts = self._window(window_size)
        return float(np.sum(values) / np.sum(counts))  # NumPy adds in an order of its own, and so does MMEngine

    def max(self, window_size: int | None = None) -> float:
        """The largest of the last ``window_size`` values."""
        return max(self._window(window_size)[0])

    def min(self, window_size: int | None = None) -> float:
        """The smallest of the last ``window_size`` values."""
        return min(self._window(window_size)[0])

    def current(self) -> float:
        """The newest value."""
        return self._window(1)[0][0]

    def state_dict(self) -> dict[str, Any]:
        """Values and counts as float64 tensors ``(n,)``; counts only when they differ from 1."""
        values, counts = self.data
        state: dict[str, Any] = {"values": torch.from_numpy(values), "max_length": self.max_length}
        if (counts != 1).any():
            state["counts"] = torch.from_numpy(counts)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved values and counts."""
        self.max_length = int(state["max_length"])
        self._n_dropped = 0
        self._values = state["values"].tolist()
        counts = state.get("counts")
        self._counts = [1] * len(self._values) if counts is None else counts.tolist()


def _numbers(values: Any) -> list[float]:
    """A list of a sequence, an array or a tensor of numbers."""
    numbers: list[float] = np.asarray(values if hasattr(values, "__len__") else list(values)).ravel().tolist()
    return numbers
