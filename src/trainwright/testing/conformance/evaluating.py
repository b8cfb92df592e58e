"""Validation and test: every sample once, one result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from trainwright.evaluation import BaseMetric
from trainwright.registry import METRICS
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike, expect_close, histories, trained
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task


@METRICS.register_module()
class ConformanceLabels(BaseMetric):
    """How many samples there were, and their labels as one number that their order decides."""

    default_prefix = "labels"

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the labels."""
        for sample in data_samples:
            self.results += torch.as_tensor(sample["label"]).reshape(-1).tolist()

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """Their number, and the number that they write in base 3."""
        return {"count": len(results), "order": float(sum(label * 3**n for n, label in enumerate(results)))}


_EVALUATOR = [{"type": "Accuracy"}, {"type": "ConformanceLabels"}]


def _validated(task: Task, size: int) -> dict[str, Any]:
    changes = {"val_dataloader": task.loader(size, shuffle=False), "val_cfg": {"loss": True}}
    return dict(task.runner(f"val{size}", val_evaluator=_EVALUATOR, **changes).val())


@behaviour(quick=True)
def evaluation_without_duplicates(subject: Subject) -> None:
    """A set of 13 samples is evaluated as 13 samples in their order; all ranks have one process's metrics."""
    wanted = subject.alone(_validated, 13)
    for rank, metrics in enumerate(subject.here(_validated, 13)):
        expect_close(metrics, wanted, f"metrics of rank {rank}", 1e-6)


@behaviour()
def evaluation_of_few(subject: Subject) -> None:
    """A set with fewer samples than ranks is evaluated, too."""
    wanted = subject.alone(_validated, 1)
    for rank, metrics in enumerate(subject.here(_validated, 1)):
        expect_close(metrics, wanted, f"metrics of rank {rank}", 1e-6)


def _tested(task: Task) -> dict[str, Any]:
    runner = task.runner("test", test_dataloader=task.loader(21, shuffle=False), test_cfg={}, test_evaluator=_EVALUATOR)
    runner.train()
    return dict(runner.test())


@behaviour()
def tested_after_training(subject: Subject) -> None:
    """A test of what was trained gives every rank one process's metrics."""
    wanted = subject.alone(_tested)
    for rank, metrics in enumerate(subject.here(_tested)):
        expect_close(metrics, wanted, f"metrics of rank {rank}", 1e-6)


@behaviour()
def validation_changes_nothing(subject: Subject) -> None:
    """A validation in the middle of training leaves it as it is without: losses and weights, bit for bit."""
    every = {"by_epoch": False, "max_iters": 8, "val_interval": 1}
    with_dropout: dict[str, Any] = {"model": {"type": "ConformanceModel", "dropout": 0.3}}
    often = subject.here(trained, {**with_dropout, "train_cfg": every}, "often")
    never = subject.here(trained, {**with_dropout, "train_cfg": {**every, "val_interval": 100}}, "never")
    for rank, (one, other) in enumerate(zip(often, never, strict=True)):
        expect_close(one["losses"], other["losses"], f"losses of rank {rank}")
    expect_close(often[0]["state"], never[0]["state"], "state")


def _moments(task: Task) -> dict[str, list[float]]:
    steps = {"by_epoch": False, "max_iters": 8, "val_interval": 3, "dynamic_intervals": [(5, 1)], "val_begin": 2}
    runner = task.train("moments", train_cfg=steps)
    store = runner.message_hub.log_scalars
    return {"n": [float(len(store["val/accuracy/top1"].data[0]))], **histories(runner, "val/accuracy")}


@behaviour()
def dynamic_intervals(subject: Subject) -> None:
    """Validations by val_begin, val_interval and dynamic_intervals are those of one process."""
    wanted = subject.alone(_moments)
    expect(wanted["n"][0] >= 4, f"{wanted['n']} validations")
    expect_close(expect_alike(subject.here(_moments), "validations"), wanted, "validations", 1e-4)
