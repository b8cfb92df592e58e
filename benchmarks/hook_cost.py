"""What the hooks that watch a run add to an iteration: guard, throughput and gradient norms, alone and together.

All are measured in one process: short runs take turns, round after round, so that whatever else the machine does falls
on all of them. "over bare" and "over default" are medians of the differences within a round, in microseconds. A run
counts with the lower quartile of its chunks of 100 iterations, as in overhead.py; in the columns "mean" with all of
them, in which what a hook does now and then (a snapshot) is contained.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from common import CHUNK, WARMUP, Batches, print_table
from engines import bare, config_first

GUARD = {"type": "LossGuardHook"}
THROUGHPUT = {"type": "ThroughputHook"}
NORM = {"type": "GradNormHook"}
# None: a loop written by hand. Every other row has the six default hooks, and these.
ROWS: dict[str, list[dict[str, Any]] | None] = {
    "bare": None,
    "default": [],
    "default + guard": [GUARD],
    "default + throughput": [THROUGHPUT],
    "default + gradient norm": [NORM],
    "default + all three": [GUARD, THROUGHPUT, NORM],
}
LIMITS_US = {"default": 20.0, "default + all three": 60.0}


def run_once(name: str, iterations: int) -> tuple[float, float]:
    """Microseconds per iteration of one run: the lower quartile of its chunks, and the mean after warm-up."""
    hooks = ROWS[name]
    with tempfile.TemporaryDirectory() as folder:
        if hooks is None:
            loader = bare(iterations, folder)
        else:
            loader = config_first("trainwright", iterations, folder, hooks=[dict(hook) for hook in hooks])
    return loader.microseconds(), mean_of(loader)


def mean_of(loader: Batches) -> float:
    """All iterations after warm-up, whatever took long in them included."""
    stamps = loader.stamps[WARMUP:]
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1) * 1e6


def differences(times: dict[str, list[float]], name: str, base: str) -> float:
    """Median over the rounds of what `name` takes longer than `base`."""
    return statistics.median(one - other for one, other in zip(times[name], times[base], strict=True))


def report(quartiles: dict[str, list[float]], means: dict[str, list[float]]) -> list[str]:
    """Print the table; the rows that are beyond their limits."""
    rows, beyond = [], []
    for name, values in quartiles.items():
        over, mean_over = differences(quartiles, name, "bare"), differences(means, name, "bare")
        ratio = statistics.median(one / other for one, other in zip(values, quartiles["bare"], strict=True))
        own = [f"{statistics.median(values):.1f}", f"{over:+.1f}", f"{mean_over:+.1f}", f"{ratio:.2f}"]
        rest = [f"{differences(times, name, 'default'):+.1f}" for times in (quartiles, means)]
        limit = LIMITS_US.get(name)
        rows.append([name, *own, *rest, "" if limit is None else f"{limit:.0f}"])
        if limit is not None and over > limit:
            beyond.append(f"{name}: {over:.1f} us over bare, and the limit is {limit:.0f}")
    header = ["hooks", "us/iteration", "over bare", "mean", "ratio", "over default", "mean", "limit"]
    print_table(header, rows)
    return beyond


def main() -> int:
    """Parse the command line, measure, print; 1 beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=1000, help="of each run, after warm-up")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    options = parser.parse_args()
    if options.iterations < 4 * CHUNK:
        parser.error(f"--iterations must be at least {4 * CHUNK}")
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    quartiles: dict[str, list[float]] = {name: [] for name in ROWS}
    means: dict[str, list[float]] = {name: [] for name in ROWS}
    for _ in range(options.rounds):
        for name in ROWS:
            quartile, mean = run_once(name, options.iterations + WARMUP + 1)
            quartiles[name].append(quartile)
            means[name].append(mean)
    beyond = report(quartiles, means)
    if options.json:
        options.json.write_text(json.dumps({"quartiles": quartiles, "means": means}, indent=1) + "\n", encoding="utf-8")
    for line in beyond:
        print(line, file=sys.stderr)
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
