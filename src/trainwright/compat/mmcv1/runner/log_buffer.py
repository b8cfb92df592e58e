"""The values that a runner logs, under MMCV's names."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from trainwright.compat.mmcv1.errors import RuleError, demand
from trainwright.state import Clock, MetricStore


class LogBuffer:
    """Values waiting to be averaged and logged: ``update`` keeps them, ``average`` fills ``output``.

    A face of the metric store: a device tensor is not read until somebody asks, by :meth:`average` or for a history.
    ``val_history`` and ``n_history`` are made when they are asked for: changing them changes nothing.
    """

    def __init__(self, metrics: MetricStore | None = None) -> None:
        self._metrics = MetricStore(Clock()) if metrics is None else metrics
        self._order: dict[tuple[str, ...], None] = {}  # the names of each update, in order of arrival
        self.output: OrderedDict[str, Any] = OrderedDict()
        self.ready = False

    @property
    def val_history(self) -> OrderedDict[str, list[float]]:
        """All values since the last ``clear``."""
        return self._column(0)

    @property
    def n_history(self) -> OrderedDict[str, list[float]]:
        """The count of each value."""
        return self._column(1)

    def _column(self, index: int) -> OrderedDict[str, list[float]]:
        self._metrics.flush()
        histories = self._metrics.histories
        return OrderedDict((name, histories[name].data[index].tolist()) for name in self._names())

    def _names(self) -> dict[str, None]:
        return dict.fromkeys(name for names in self._order for name in names)

    def clear(self) -> None:
        """Forget all values, and the output."""
        self._metrics.discard()
        self._metrics.histories.clear()
        self._order.clear()
        self.clear_output()

    def clear_output(self) -> None:
        """Forget the output."""
        self.output.clear()
        self.ready = False

    def update(self, vars: dict[str, Any], count: int = 1) -> None:
        """Keep numbers, or tensors of one element, that stand for ``count`` samples."""
        if not isinstance(vars, dict):  # asked first: the text of the error would read the tensors
            raise RuleError(f"what is logged must be a dict of numbers, got {vars!r}")
        self._metrics.put("", vars, count)
        self._order[tuple(vars)] = None

    def average(self, n: int = 0) -> None:
        """Fill ``output`` with the averages, weighted by count, of the last ``n`` values each; of all with 0."""
        demand(n >= 0, f"n must not be negative, got {n}")
        self._metrics.flush()
        for name in self._names():
            values, counts = (column[-n:] for column in self._metrics.histories[name].data)
            self.output[name] = np.sum(values * counts) / np.sum(counts)
        self.ready = True

    def state_dict(self) -> dict[str, Any]:
        """The values and their order, as tensors and plain data."""
        return {"metrics": self._metrics.state_dict(), "order": [list(names) for names in self._order]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over saved values."""
        self._metrics.load_state_dict(state["metrics"])
        self._order = {tuple(names): None for names in state["order"]}
        self.clear_output()
