"""Which collectives a process takes part in, told by torch's flight recorder: also those of DDP's and FSDP's own."""

from __future__ import annotations

import json
import os
from typing import Any

import torch

from trainwright.base.errors import ConfigError
from trainwright.engine import Hook

RECORDER = "TORCH_FR_BUFFER_SIZE"


def recorded() -> list[str]:
    """The collectives of all groups of this process so far, oldest first, such as 'gloo:all_reduce'.

    TORCH_FR_BUFFER_SIZE, the number that is kept, must be set before the first group is made.
    """
    if not os.environ.get(RECORDER, "0").isdigit() or int(os.environ.get(RECORDER, "0")) == 0:
        raise ConfigError(
            f"collectives are recorded where {RECORDER} is set, to 20000 for instance, before a group is."
        )
    binding: Any = torch._C
    entries = json.loads(binding._distributed_c10d._dump_fr_trace_json()).get("entries", [])
    if len(entries) >= int(os.environ[RECORDER]):
        raise ConfigError(f"the recorder is full, and drops the oldest: set {RECORDER} above {os.environ[RECORDER]}.")
    return [entry["profiling_name"] for entry in entries]


class CollectivesPerIteration(Hook):
    """Divides what is recorded among the training iterations; a loop of one's own calls :meth:`mark` before each, and
    after the last."""

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._marks: list[int] = []

    def mark(self) -> None:
        """An iteration begins."""
        self._marks.append(len(recorded()))

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """An iteration begins."""
        self.mark()

    def after_train(self, runner: Any) -> None:
        """The last one is over."""
        self.mark()

    def found(self) -> list[list[str]]:
        """The collectives of each iteration."""
        names = recorded()
        return [names[begin:end] for begin, end in zip(self._marks, self._marks[1:], strict=False)]
