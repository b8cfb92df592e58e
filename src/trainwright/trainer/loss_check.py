"""Losses that are not finite, found when the values of a storage are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from trainwright.base.errors import NonFiniteLossError
from trainwright.dist import get_world_size
from trainwright.state import MetricStore

Flushed = dict[str, tuple[Sequence[int], Sequence[float]]]


def not_finite(iteration: int, losses: object) -> NonFiniteLossError:
    """The error for losses of an iteration."""
    return NonFiniteLossError(
        f"Loss became infinite or NaN at iteration={iteration}!\nloss_dict = {losses}\nUsual cures: a lower learning "
        "rate or a longer warm-up, clipped gradients, a look at the batch of that iteration, bfloat16 for float16."
    )


class LossCheck:
    """The watcher of a metric store that looks at losses, when whoever watched before has got the values."""

    def __init__(self, watcher: Callable[[Flushed], None] | None) -> None:
        self._watcher = watcher
        self._names: set[str] = set()
        self.n_ranks = get_world_size()  # asked for once a training

    @classmethod
    def of(cls, metrics: MetricStore) -> LossCheck:
        """The one of this store, which is made if there is none."""
        watcher = metrics.watcher
        if not isinstance(watcher, cls):
            watcher = metrics.watcher = cls(watcher)
        return watcher

    def add(self, scope: str, total: str, names: Iterable[str]) -> None:
        """These are losses, put within a scope of names."""
        if scope or total not in self._names or not self._names.issuperset(names):
            self._names.update([scope + total, *(scope + name for name in names)])

    def __call__(self, flushed: Flushed) -> None:
        """NonFiniteLossError for the earliest iteration with a loss that is not finite."""
        if self._watcher is not None:
            self._watcher(flushed)
        losses = {name: values for name, values in flushed.items() if name in self._names}
        bad = [
            at
            for iters, values in losses.values()
            if not all(map(math.isfinite, values))
            for at, value in zip(iters, values, strict=True)
            if not math.isfinite(value)
        ]
        if bad:
            first = min(bad)
            terms = {
                name: value
                for name, (iters, values) in losses.items()
                for at, value in zip(iters, values, strict=True)
                if at == first
            }
            raise not_finite(first, terms)
