"""What mmengine.runner.loops has."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainwright.engine.loops.endless import EndlessBatches
from trainwright.engine.loops.epoch_based import EpochBasedTrainLoop
from trainwright.engine.loops.evaluation import TestLoop, ValLoop
from trainwright.engine.loops.iter_based import IterBasedTrainLoop
from trainwright.engine.loops.losses import take_losses
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


_InfiniteDataloaderIterator = EndlessBatches


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
