"""Through each door, with its usual hooks: between two lines of the log no iteration reads a tensor."""

import logging

import pytest
import torch

from doors import Job, LossToy, StepToy
from trainwright.compat.mmcv1 import runner as mmcv1
from trainwright.testing.host_reads import count_host_reads
from trainwright.trainer import Checkpointer as Saver
from trainwright.trainer import (
    CommonMetricPrinter,
    IterationTimer,
    JSONWriter,
    LRScheduler,
    PeriodicCheckpointer,
    PeriodicWriter,
    SimpleTrainer,
)

RARELY = 1000


def parts(folder, n_iters, cls):
    """With SGD: AdamW on the CPU reads its counters, which are there."""
    model, _, loader = Job(folder, per_epoch=n_iters).parts(cls)
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), loader


def simple_trainer(folder, n_iters):
    model, optimizer, loader = parts(folder, n_iters, LossToy)
    trainer = SimpleTrainer(model, loader, optimizer)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    writers = [CommonMetricPrinter(n_iters), JSONWriter(str(folder / "metrics.json"))]
    saver = PeriodicCheckpointer(Saver(model, str(folder), trainer=trainer), RARELY)
    hooks = [IterationTimer(), LRScheduler(optimizer, schedule), saver, PeriodicWriter(writers, RARELY)]
    trainer.register_hooks(hooks)
    return lambda: trainer.train(0, n_iters)


def mmcv1_runner(folder, n_iters, name, length):
    model, optimizer, loader = parts(folder, n_iters, StepToy)
    logger = logging.Logger("doors", logging.INFO)
    logger.addHandler(logging.NullHandler())
    runner = getattr(mmcv1, name)(model, optimizer=optimizer, work_dir=str(folder), logger=logger, meta={}, **length)
    runner.register_training_hooks(
        lr_config={"policy": "step", "step": [1], "warmup": "linear", "warmup_iters": 3},
        optimizer_config={"grad_clip": {"max_norm": 1.0}},
        checkpoint_config={"interval": RARELY},
        log_config={"interval": RARELY, "hooks": [{"type": "TextLoggerHook", "ignore_last": False}]},
    )
    return lambda: runner.run([loader], [("train", 1)])


DOORS = {
    "SimpleTrainer": simple_trainer,
    "EpochBasedRunner": lambda folder, n: mmcv1_runner(folder, n, "EpochBasedRunner", {"max_epochs": 1}),
    "IterBasedRunner": lambda folder, n: mmcv1_runner(folder, n, "IterBasedRunner", {"max_iters": n}),
}


@pytest.mark.parametrize("door", DOORS)
def test_more_iterations_read_no_more(tmp_path, door):
    found = []
    for n_iters in (3, 9):
        train = DOORS[door](tmp_path / str(n_iters), n_iters)
        with count_host_reads() as reads:
            train()
        found.append(reads)
    assert found[0].total == found[1].total > 0, found[1].report()
