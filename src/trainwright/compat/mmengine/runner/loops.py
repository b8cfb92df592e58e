"""What mmengine.runner.loops has."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from trainwright.base.logs import print_log
from trainwright.engine.loops.epoch_based import EpochBasedTrainLoop
from trainwright.engine.loops.evaluation import TestLoop, ValLoop
from trainwright.engine.loops.iter_based import IterBasedTrainLoop
from trainwright.engine.loops.losses import take_losses
from trainwright.hooks.sampler_seed_hook import set_epoch
from trainwright.state import HistoryBuffer

__all__ = [
    "EpochBasedTrainLoop",
    "IterBasedTrainLoop",
    "TestLoop",
    "ValLoop",
    "_InfiniteDataloaderIterator",
    "_parse_losses",
    "_update_losses",
]


class _InfiniteDataloaderIterator:
    """Batches without end: pass after pass over a loader, whose sampler is told the number of each."""

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
        set_epoch(self._dataloader, self._epoch)
        self._iterator = iter(self._dataloader)
        return next(self._iterator)


def _update_losses(outputs: Any, losses: dict[str, HistoryBuffer]) -> tuple[Any, dict[str, HistoryBuffer]]:
    """The predictions alone; the losses that came behind them are noted in ``losses``."""
    outputs, found = take_losses(outputs)
    for name, value in (found or {}).items():
        history = losses.setdefault(name, HistoryBuffer())
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Tensor):
                history.update(one.item())
    return outputs, losses


def _parse_losses(losses: dict[str, HistoryBuffer], stage: str) -> dict[str, float]:
    """The mean of each, and of those called a loss the sum, as ``<stage>_loss``."""
    means = {name: float(history.mean()) for name, history in losses.items()}
    return {**means, f"{stage}_loss": sum(mean for name, mean in means.items() if "loss" in name)}
