"""What the benchmarks share: the tiny task, a loader that keeps time, and a plain table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

WARMUP = 300
CHUNK = 100
LOG_EVERY = 50


def make_model() -> nn.Sequential:
    """The MLP 64-64-10 of every row."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def make_optimizer(model: nn.Module) -> torch.optim.SGD:
    """The optimizer of every row."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


class Batches:
    """Hands out ready-made batches of 32 and notes the time of each hand-over; costs next to nothing.

    Timing at the hand-over needs nothing of the engine, and leaves its set-up and tear-down out. It has the few
    attributes that engines look for on a loader.
    """

    batch_size = 32
    num_workers = 0
    drop_last = False

    def __init__(self, length: int, as_dict: bool = False) -> None:
        generator = torch.Generator().manual_seed(0)
        pairs = [
            (torch.randn(32, 64, generator=generator), torch.randint(10, (32,), generator=generator))
            for _ in range(100)
        ]
        self.batches: list[Any] = [{"x": x, "labels": y} for x, y in pairs] if as_dict else list(pairs)
        self.length = length
        self.dataset = range(length * self.batch_size)
        self.stamps: list[float] = []

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        clock, stamps, batches = time.perf_counter, self.stamps, self.batches
        for index in range(self.length):
            stamps.append(clock())
            yield batches[index % 100]

    def microseconds(self) -> float:
        """Time per iteration: the lower quartile of chunks of 100 iterations, warm-up left out.

        Every chunk holds the same work, two reports included, so what makes one slower than another is the machine.
        """
        marks = self.stamps[WARMUP::CHUNK]
        if len(marks) < 5:
            raise RuntimeError(f"{len(self.stamps)} iterations are too few: {WARMUP + 4 * CHUNK + 1} at least")
        chunks = [(after - before) / CHUNK * 1e6 for before, after in zip(marks, marks[1:], strict=False)]
        return statistics.quantiles(chunks, n=4)[0]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip(), flush=True)
