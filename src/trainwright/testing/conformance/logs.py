"""What is written, by whom, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike, expect_close, histories
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.recorder import EventRecorder

_EVERY = {
    "logger": {"type": "LoggerHook", "interval": 1},
    "checkpoint": {"type": "CheckpointHook", "interval": -1},
}


def _lines(task: Task) -> tuple[list[dict[str, Any]], dict[str, list[float]], int]:
    runner = task.train(
        "log",
        default_hooks=_EVERY,
        param_scheduler={"type": "ExponentialLR", "gamma": 0.5},
        log_processor={"window_size": 1},
    )
    files = list(Path(runner.work_dir).glob("*/vis_data/scalars.json"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()] if not runner.rank else []
    n_logs = len(list(Path(runner.work_dir).glob("*/*.log")))
    return lines, histories(runner, "train/loss"), n_logs


@behaviour(quick=True)
def rank_0_logs(subject: Subject) -> None:
    """One log and one file of JSON lines, each line once; steps, rates and metrics are one process's."""
    lines, own, n_logs = subject.here(_lines)[0]
    wanted, _, _ = subject.alone(_lines)
    expect(n_logs == 1, f"there are {n_logs} logs")
    expect_close([line.get("loss") for line in lines if "lr" in line], own["train/loss"], "losses of rank 0", 1e-4)
    kept = ("step", "epoch", "iter", "lr", "accuracy/top1")
    found, one = ([{key: line[key] for key in kept if key in line} for line in part] for part in (lines, wanted))
    expect_close(found, one, "lines", 1e-4)


def _events(task: Task) -> list[tuple[str, int, int]]:
    recorder = EventRecorder()
    task.train("events", custom_hooks=[recorder], data={"size": 28})
    return [(event.value, epoch, iteration) for event, epoch, iteration in recorder.moments]


@behaviour(quick=True)
def events_as_one_process(subject: Subject) -> None:
    """Hooks are called on every rank in one process's order, as often, with its counters."""
    wanted = [moment for moment in subject.alone(_events) if "_val_iter" not in moment[0]]
    for rank, moments in enumerate(subject.here(_events)):
        found = [moment for moment in moments if "_val_iter" not in moment[0]]
        expect_close(found, wanted, f"events of rank {rank}")


def _host_reads(task: Task, max_iters: int) -> tuple[int, str]:
    runner = task.runner(
        f"reads{max_iters}",
        data={"size": 80},
        train_cfg={"by_epoch": False, "max_iters": max_iters, "val_interval": 1000},
        default_hooks={"logger": {"type": "LoggerHook", "interval": 1000}, "checkpoint": None},
        optim_wrapper={"clip_grad": {"max_norm": 1.0}},
    )
    with count_host_reads() as reads:
        runner.train()
    return reads.total, reads.report()


@behaviour()
def no_host_reads_between_logs(subject: Subject) -> None:
    """Between two lines of the log no iteration reads a tensor, clipping included."""
    few, many = subject.here(_host_reads, 2), subject.here(_host_reads, 8)
    for rank, ((n_few, _), (n_many, report)) in enumerate(zip(few, many, strict=True)):
        expect(n_few == n_many, f"rank {rank}: {n_many - n_few} reads in 6 iterations, of these:\n{report}")


def _history(task: Task) -> dict[str, list[float]]:
    task.train("history", train_cfg={"by_epoch": True, "max_epochs": 1})
    return histories(task.train("history", resume=True), "train/loss", "val/", "/lr")


@behaviour()
def histories_resumed(subject: Subject) -> None:
    """A run that was taken up has the numbers of its first part, on every rank."""
    ranks = subject.here(_history)
    for rank, found in enumerate(ranks):
        expect(len(found["train/loss"]) == 8, f"rank {rank}: {len(found['train/loss'])} losses of 8 iterations")
    expect_alike([{name: v for name, v in found.items() if "loss" not in name} for found in ranks], "histories")
