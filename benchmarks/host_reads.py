"""Host reads of tensors in 1,000 training iterations with three loss terms and a log line every 100.

Between two log lines nothing may wait for the device, so ten reads are to be seen, one a line. Each is printed with the
file and line that asked for it. Exits 1 when there are more. `--engine mmengine` counts another engine for comparison.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from typing import Any

import torch
from torch.nn import functional as F

from common import Batches, make_model, make_optimizer
from trainwright.testing.host_reads import HostReads, count_host_reads

ITERATIONS = 1000
INTERVAL = 100


def make_net(package: str) -> Any:
    """The tiny MLP with three loss terms, as a model of that engine."""
    base = importlib.import_module(f"{package}.model").BaseModel

    class Net(base):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str = "tensor") -> Any:
            scores = self.net(inputs)
            if mode != "loss":
                return scores
            extra = {"loss_l1": 1e-4 * scores.abs().mean(), "loss_l2": 1e-4 * scores.square().mean()}
            return {"loss_ce": F.cross_entropy(scores, labels), **extra}

    return Net()


def make_edges(package: str, active: HostReads, found: HostReads) -> Any:
    """A hook that puts the reads between the first iteration and the end of the last one into ``found``."""
    base = importlib.import_module(f"{package}.hooks").Hook

    class Edges(base):  # type: ignore[misc, valid-type]
        priority = 80  # after the logger, before checkpoints are saved

        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.iter == 0:
                self.start = active.sites.copy()

        def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
            if runner.iter == ITERATIONS - 1:
                found.sites = active.sites - self.start

    return Edges()


def count(package: str) -> HostReads:
    """Train with the six default hooks and return the reads of the iterations, set-up and saving left out."""
    runner_class = importlib.import_module(f"{package}.runner").Runner
    model, found = make_net(package), HostReads()
    with tempfile.TemporaryDirectory() as folder, count_host_reads() as active:
        runner_class(
            model=model,
            work_dir=folder,
            train_dataloader=Batches(ITERATIONS),
            train_cfg={"by_epoch": False, "max_iters": ITERATIONS},
            optim_wrapper={"optimizer": make_optimizer(model)},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": INTERVAL},
                "checkpoint": {"type": "CheckpointHook", "interval": ITERATIONS, "by_epoch": False},
            },
            custom_hooks=[make_edges(package, active, found)],
            log_processor={"by_epoch": False},
            log_level="WARNING",
            experiment_name="host_reads",
        ).train()
    return found


def main() -> int:
    """Count, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="trainwright", choices=["trainwright", "mmengine"])
    reads = count(parser.parse_args().engine)
    allowed = ITERATIONS // INTERVAL
    print(reads.report())
    rate = reads.total / ITERATIONS
    print(f"{reads.total} host reads in {ITERATIONS} iterations, {rate:.2f} an iteration (allowed: {allowed})")
    return 0 if reads.total <= allowed else 1


if __name__ == "__main__":
    sys.exit(main())
