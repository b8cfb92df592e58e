"""Time per iteration of Trainwright's Runner over a loop written by hand around the same wrapper, with two gloo ranks.

Both train in one process group: when the Runner has pulled a block of batches, a block of the loop by hand runs
before it gets the next one. So what else the machine does falls on both, and the Runner goes on as if nothing had
been. A row is the median over the pairs of blocks of (Runner / by hand), each with one report of the loss; beside it
the same of the CPU time of the training thread, which a busy machine disturbs less. Collectives are counted in a run
of their own, by torch's flight recorder. Exits 1 when a ratio of times is above 1.02, or an iteration without a
report has other collectives than the loop by hand.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", TORCH_FR_BUFFER_SIZE="20000")

import torch
import torch.distributed.fsdp
from torch import nn

from common import LOG_EVERY, print_table
from models import Residual, Tower
from trainwright.runner import Runner
from trainwright.testing.collectives import CollectivesPerIteration
from trainwright.testing.ranks import run_ranks

LIMIT = 1.02
WARMUP_BLOCKS = 2
STRATEGIES: dict[str, dict[str, Any]] = {
    "DDP": {"type": "DDPStrategy"},
    "FSDP2": {"type": "FSDPStrategy", "wrap": ["Residual"]},
}


def make_batches(size: int) -> list[Any]:
    """Twenty batches that lie ready."""
    generator = torch.Generator().manual_seed(0)
    pairs = (
        (torch.randn(size, 256, generator=generator), torch.randint(10, (size,), generator=generator))
        for _ in range(20)
    )
    return list(pairs)


def clocks() -> tuple[float, float]:
    """Now, on the wall and on the CPU of this thread."""
    return time.perf_counter(), time.thread_time()


def since(begin: tuple[float, float]) -> tuple[float, float]:
    """Seconds gone by on both."""
    now = clocks()
    return now[0] - begin[0], now[1] - begin[1]


class ByHand:
    """A loop written by hand."""

    def __init__(self, kind: str, batches: list[Any]) -> None:
        torch.manual_seed(0)
        model: Any = Tower()
        if kind == "DDP":
            self.model: Any = nn.parallel.DistributedDataParallel(model)  # there are no buffers
        else:
            for layer in model.layers:
                if isinstance(layer, Residual):
                    torch.distributed.fsdp.fully_shard(layer)
            self.model = torch.distributed.fsdp.fully_shard(model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.batches = batches
        self.done = 0

    def run(self, iterations: int, before: Callable[[], None] | None = None) -> tuple[float, float]:
        """So many iterations; the seconds they took, and those of the CPU."""
        begin = clocks()
        for _ in range(iterations):
            if before is not None:
                before()
            inputs, labels = self.batches[self.done % len(self.batches)]
            loss = self.model(inputs, labels, mode="loss")["loss"]
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.done += 1
            if self.done % LOG_EVERY == 0:
                logging.info("%d %f", self.done, loss.item())
        return since(begin)


class Interleaved:
    """The Runner's loader: hands out batches that lie ready, and runs the loop by hand between two blocks."""

    num_workers = 0
    drop_last = False

    def __init__(self, batches: list[Any], n_blocks: int, other: ByHand | None) -> None:
        self.batches, self.n_blocks, self.other = batches, n_blocks, other
        self.batch_size = len(batches[0][1])
        self.dataset = range(len(self) * self.batch_size)
        self.seconds: list[tuple[float, float, float, float]] = []  # ours, by hand, and the same of the CPU

    def __len__(self) -> int:
        return self.n_blocks * LOG_EVERY + 1

    def __iter__(self) -> Iterator[Any]:
        place = 0
        for _ in range(self.n_blocks):
            begin = clocks()
            for _ in range(LOG_EVERY):
                yield self.batches[place % len(self.batches)]
                place += 1
            own = since(begin)
            other = self.other.run(LOG_EVERY) if self.other else own
            self.seconds.append((own[0], other[0], own[1], other[1]))
        yield self.batches[0]  # so that the last block ends with the pulling of a batch too


def train(kind: str, loader: Interleaved, hooks: list[Any]) -> None:
    """Our run, with the six default hooks."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        folders = [folder]
        torch.distributed.broadcast_object_list(folders)
        Runner(
            model=Tower(),
            work_dir=folders[0],
            strategy=STRATEGIES[kind],
            train_dataloader=loader,
            train_cfg={"by_epoch": False, "max_iters": len(loader)},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": LOG_EVERY},
                "checkpoint": {"type": "CheckpointHook", "interval": 10**9, "by_epoch": False},
            },
            custom_hooks=hooks,
            log_processor={"by_epoch": False},
            log_level="WARNING",
            experiment_name="distributed",
        ).train()
        torch.distributed.barrier()


def timed(kind: str, size: int, n_blocks: int) -> list[tuple[float, float, float, float]]:
    """Seconds of each pair of blocks."""
    batches = make_batches(size)
    loader = Interleaved(batches, n_blocks + WARMUP_BLOCKS, ByHand(kind, batches))
    train(kind, loader, [])
    return loader.seconds[WARMUP_BLOCKS:]


def counted(kind: str, size: int) -> tuple[list[list[str]], list[list[str]]]:
    """The collectives of each iteration: of the loop by hand, and ours."""
    batches, hands, ours = make_batches(size), CollectivesPerIteration(), CollectivesPerIteration()
    loader = Interleaved(batches, 2, None)
    ByHand(kind, batches).run(len(loader), hands.mark)
    hands.mark()
    train(kind, loader, [ours])
    return hands.found(), ours.found()


def count_row(kind: str, size: int) -> tuple[list[str], bool]:
    """A row of the second table, and whether it is right."""
    hands, ours = run_ranks(2, counted, kind, size, timeout_s=300)[0]
    last = len(ours) - 1
    quiet = [index for index in range(last) if (index + 1) % LOG_EVERY]
    more = [index for index in quiet if ours[index] != hands[index]]
    at_logs = [len(ours[i]) - len(hands[i]) for i in range(LOG_EVERY - 1, last, LOG_EVERY)]
    shown = f"{sum(len(hands[i]) for i in quiet) / len(quiet):g}"
    own = f"{sum(len(ours[i]) for i in quiet) / len(quiet):g}"
    return [kind, shown, own, str(len(more)), str(max(at_logs))], not more


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=30, help=f"pairs of blocks of {LOG_EVERY} iterations")
    parser.add_argument("--batch-size", type=int, default=32, help="samples a rank")
    parser.add_argument("--kinds", default="DDP,FSDP2")
    options = parser.parse_args()
    kinds = options.kinds.split(",")
    n_params = sum(parameter.numel() for parameter in Tower().parameters())
    print(
        f"{n_params:,} parameters (4 residual layers of width 256), batches of {options.batch_size} a rank, SGD with "
        f"momentum, 2 gloo ranks with one thread each, {options.blocks} pairs of blocks of {LOG_EVERY} iterations"
    )
    rows, passed = [], True
    for kind in kinds:
        ranks = run_ranks(2, timed, kind, options.batch_size, options.blocks, timeout_s=3600)
        pairs = [tuple(map(max, zip(*both, strict=True))) for both in zip(*ranks, strict=True)]
        ratio = statistics.median(pair[0] / pair[1] for pair in pairs)
        of_cpu = statistics.median(pair[2] / pair[3] for pair in pairs)
        middle = [statistics.median(column) / LOG_EVERY * 1e3 for column in zip(*pairs, strict=True)]
        added = statistics.median(pair[2] - pair[3] for pair in pairs) / LOG_EVERY * 1e6
        rows.append([kind, *(f"{value:.2f}" for value in middle[:2]), f"{ratio:.3f}", f"{added:+.0f}", f"{of_cpu:.3f}"])
        passed = passed and ratio <= LIMIT
    print_table(["wrapping", "Trainwright ms", "by hand ms", "ratio", "CPU us over", "CPU ratio"], rows)
    print()
    counts = [count_row(kind, options.batch_size) for kind in kinds]
    header = ["collectives an iteration", "by hand", "Trainwright", "iterations that differ", "more at a report"]
    print_table(header, [row for row, _ in counts])
    return 0 if passed and all(right for _, right in counts) else 1


if __name__ == "__main__":
    sys.exit(main())
