"""How long a resume takes far into a training: iteration 1,000,000 of a data set of 10,000,000 samples.

    python benchmarks/resume.py [--samples N] [--at ITERATION] [--cost SECONDS] [--workers N]

A sample costs 5 ms to read. What is timed begins when the checkpoint has been read into memory (the model's load) and
ends with the first step: a fresh runner is built, everything of the checkpoint is put in place, workers start, the
order of the epoch is drawn, one batch is read and one step made. Counted is every sample that is read meanwhile, by
workers too. An engine that reads and drops what was consumed needs (samples consumed) x (cost) / (workers) for it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from trainwright import Runner
from trainwright.checkpoint import read_file
from trainwright.hooks import Hook
from trainwright.testing.toys import DIM, toy_config

BATCH_SIZE = 8
_read = multiprocessing.Value("q", 0)


class Slow(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples that take their time."""

    def __init__(self, size: int, cost_s: float) -> None:
        self.size, self.cost_s = size, cost_s

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        with _read.get_lock():
            _read.value += 1
        time.sleep(self.cost_s)
        return {"inputs": torch.full((DIM,), index % 7 / 7.0), "label": index % 3}


class StopNow(Hook):
    """Ends the run after its first step, and keeps the time."""

    stepped_at = 0.0

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        self.stepped_at = time.perf_counter()
        runner.ctx.stop.request("one step is enough")


def config(folder: str, args: argparse.Namespace, sampler: str, loop: dict[str, Any]) -> dict[str, Any]:
    loader = {
        "dataset": Slow(args.samples, args.cost),
        "batch_size": BATCH_SIZE,
        "num_workers": args.workers,
        "sampler": {"type": sampler, "shuffle": True},
        "collate_fn": {"type": "default_collate"},
    }
    return toy_config(folder, train_dataloader=loader, train_cfg=loop, default_hooks={"checkpoint": None})


def far_checkpoint(folder: str, cfg: dict[str, Any], at: int) -> str:
    """One step of training, saved as if it were the step `at`."""
    runner = Runner.from_cfg({**cfg, "custom_hooks": [StopNow()]})
    runner.train()
    tree = runner.training_tree()
    if runner.by_epoch:
        epoch, inner = divmod(at, len(runner.train_dataloader))
        tree["meta"] |= {"epoch": epoch, "iter": at, "inner_iter": inner}
        tree["loader"] |= {"epoch": epoch, "consumed_batches": inner, "consumed_samples": inner * BATCH_SIZE}
    else:
        tree["meta"] |= {"iter": at, "inner_iter": at}
        tree["loader"] |= {"consumed_batches": at, "consumed_samples": at * BATCH_SIZE}
    path = str(Path(folder) / "far.pth")
    runner.strategy.write_tree(path, tree)
    return path


def resume(cfg: dict[str, Any], path: str) -> tuple[float, float, int]:
    """(seconds of reading the file, seconds to the first step besides, samples read)."""
    begin = time.perf_counter()
    read_file(path)
    load_s = time.perf_counter() - begin
    _read.value = 0
    stop = StopNow()
    begin = time.perf_counter()
    Runner.from_cfg({**cfg, "custom_hooks": [stop], "load_from": path, "resume": True}).train()
    return load_s, stop.stepped_at - begin - load_s, _read.value


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--at", type=int, default=1_000_000)
    parser.add_argument("--cost", type=float, default=0.005)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    dropped_s = args.at * BATCH_SIZE * args.cost / max(1, args.workers)
    print(f"resume at iteration {args.at:,} of {args.samples:,} samples, {args.cost * 1e3:g} ms each, "
          f"{args.workers} workers, batches of {BATCH_SIZE}")  # fmt: skip
    loops: list[tuple[str, dict[str, Any]]] = [
        ("DefaultSampler", {"by_epoch": True, "max_epochs": 10}),
        ("InfiniteSampler", {"by_epoch": False, "max_iters": 10 * args.at}),
    ]
    for sampler, loop in loops:
        with tempfile.TemporaryDirectory() as folder:
            cfg = config(folder, args, sampler, loop)
            load_s, first_s, n_read = resume(cfg, far_checkpoint(folder, cfg, args.at))
        print(f"  {sampler:16} first step after {first_s:5.2f} s, and {load_s:.2f} s of reading the checkpoint; "
              f"{n_read} samples read")  # fmt: skip
    print(f"  reading and dropping (computed, not run): {dropped_s:,.0f} s = {dropped_s / 3600:.1f} h, "
          f"{args.at * BATCH_SIZE:,} samples read")  # fmt: skip


if __name__ == "__main__":
    main()
