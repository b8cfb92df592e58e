"""Batches without end, for loops of the user's own; and when the first of them are asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from trainwright.base.logs import print_log
from trainwright.engine.loops.base import is_keyed
from trainwright.engine.passes import tell_sampler
from trainwright.state import rng


class EndlessBatches:
    """Pass after pass over a loader, whose sampler is told the number of each (mmengine's _InfiniteDataloaderIterator,
    without its pause)."""

    def __init__(self, dataloader: Any) -> None:
        self._dataloader = dataloader
        self._iterator = iter(dataloader)
        self._epoch = 0

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._iterator)
        except StopIteration:
            print_log(
                "Reach the end of the dataloader, it will be restarted: with an InfiniteSampler no pass would end",
                "current",
                logging.WARNING,
            )
        self._epoch += 1
        tell_sampler(self._dataloader, self._epoch)
        self._iterator = iter(self._dataloader)
        return next(self._iterator)


class EarlyStart:
    """The first pass over a loader without keyed randomness, begun as if that were when the loop is made.

    MMEngine begins it there, before weights are initialised. What torch draws to begin a pass is drawn there, so that
    the weights are the same; the pass itself begins when it is needed.
    """

    def __init__(self, runner: Any, dataloader: Any) -> None:
        self._streams: dict[str, Any] | None = None
        if isinstance(dataloader, DataLoader) and not is_keyed(runner):
            self._streams = rng.capture()
            torch.empty((), dtype=torch.int64).random_(generator=dataloader.generator)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within the block the streams are those of the beginning, the first time; behind it those of now."""
        streams, self._streams = self._streams, None
        if streams is None:
            yield
            return
        with rng.set_aside():
            rng.restore(streams)
            yield
