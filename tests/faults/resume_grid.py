"""Row 20: runs of each kind of loop, number of workers, feature and strategy, stopped at a random step and taken up.

The whole grid, of 64 points, is run by ``python tests/faults/resume_grid.py``.
"""

from __future__ import annotations

import itertools
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from trainwright.testing.rank_runs import ADAM, exact_state, in_ranks, train_toy
from trainwright.testing.toys import differences, toy_loader

STRATEGIES = {"single": (1, None), "DDP2": (2, "DDPStrategy"), "DDP3": (3, "DDPStrategy"), "FSDP2": (2, "FSDPStrategy")}
FEATURES: dict[str, dict[str, Any]] = {
    "amp": {"optim_wrapper": {"type": "AmpOptimWrapper", "dtype": "bfloat16", "optimizer": ADAM}},
    "accumulation": {"optim_wrapper": {"optimizer": ADAM, "accumulative_counts": 2}},
    "ema": {"optim_wrapper": {"optimizer": ADAM}, "custom_hooks": [{"type": "EMAHook", "momentum": 0.3}]},
    "schedulers": {
        "optim_wrapper": {"optimizer": ADAM, "clip_grad": {"max_norm": 0.5}},
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "begin": 0, "end": 4, "by_epoch": False},
            {"type": "CosineAnnealingLR", "T_max": 12, "begin": 4, "end": 16, "by_epoch": False},
        ],
    },
}
N_ITERS = 16


class Case(NamedTuple):
    """One point of the grid."""

    loop: str
    workers: int
    feature: str
    strategy: str


def grid() -> Iterator[Case]:
    """All points."""
    return (Case(*point) for point in itertools.product(("epoch", "iter"), (0, 2), FEATURES, STRATEGIES))


def resume_differs(case: Case, folder: Path, seed: int = 0) -> list[str]:
    """Where the end of a run that was stopped and taken up differs from that of an unbroken one, on any rank."""
    n_ranks, _ = STRATEGIES[case.strategy]
    stop = 2 * random.Random(f"{seed} {case}").randint(1, N_ITERS // 2 - 1)
    return [text for found in in_ranks(n_ranks, _run, case, folder, stop) for text in found]


def _run(case: Case, folder: Path, stop: int) -> list[str]:
    n_ranks, strategy = STRATEGIES[case.strategy]
    loop = {"by_epoch": True, "max_epochs": 2} if case.loop == "epoch" else {"by_epoch": False, "max_iters": N_ITERS}
    settings: dict[str, Any] = {
        "train_dataloader": toy_loader(8 * 2 * n_ranks, 2, noise=0.1, num_workers=case.workers),
        "train_cfg": loop,
        "model": {"type": "ToyModel", "dropout": 0.3},
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}},
        "randomness": {"seed": 1, "deterministic": True},
        **({"strategy": {"type": strategy}} if strategy else {}),
        **FEATURES[case.feature],
    }
    train_toy(folder / "whole", **settings)
    train_toy(folder / "rest", load_from=str(_saved(folder / "whole", stop)), resume=True, **settings)
    return differences(*(exact_state(_saved(folder / name, N_ITERS)) for name in ("whole", "rest")))


def _saved(folder: Path, iteration: int) -> Path:
    path = folder / f"iter_{iteration}.pth"
    return path if path.exists() else path.with_suffix("")


def whole_grid(seed: int = 0) -> list[tuple[Case, list[str]]]:
    """Each point, and what differs there."""
    results = []
    for case in grid():
        with tempfile.TemporaryDirectory() as folder:
            results.append((case, resume_differs(case, Path(folder), seed)))
    return results


if __name__ == "__main__":
    outcome = whole_grid()
    for case, found in outcome:
        sys.stdout.write(f"{' '.join(map(str, case))}: {'equal' if not found else found[0][:200]}\n")
    sys.exit(any(found for _, found in outcome))
