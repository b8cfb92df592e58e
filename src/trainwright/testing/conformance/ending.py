"""How runs end early: all ranks in the same iteration, or with the error of the one that failed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from trainwright import dist
from trainwright.base.errors import Interrupted
from trainwright.checkpoint import CheckpointManager
from trainwright.engine import Hook
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task
from trainwright.testing.rank_runs import exact_state
from trainwright.testing.toys import differences


class AtIteration(Hook):
    """Calls `act` with the runner on the last rank, alone, before iteration `at` (from 0)."""

    def __init__(self, at: int, act: Callable[[Any], object]) -> None:
        self.at, self.act = at, act

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.iter == self.at and dist.get_rank() == dist.get_world_size() - 1:
            self.act(runner)


def _early(task: Task) -> tuple[int, int]:
    runner = task.train(
        "early",
        train_cfg={"by_epoch": True, "max_epochs": 5},
        val_evaluator=[{"type": "ScriptedMetric", "score": [0.5, 0.4, 0.3, 0.2, 0.1]}],
        custom_hooks=[{"type": "EarlyStoppingHook", "monitor": "toy/score", "rule": "greater", "patience": 2}],
    )
    return runner.epoch, runner.iter


@behaviour()
def early_stop(subject: Subject) -> None:
    """EarlyStoppingHook ends all ranks after the same epoch."""
    found = expect_alike(subject.here(_early), "end")
    expect(tuple(found) == (3, 12), f"ended at (epoch, iteration) {found}")


def _stopped(task: Task, act: Callable[[Any], object], **changes: Any) -> tuple[int, str, int]:
    runner = task.runner("stopped", custom_hooks=[AtIteration(2, act)], **changes)
    try:
        runner.train()
    except Interrupted as error:
        return runner.iter, os.path.basename(str(error.checkpoint)), error.exit_code
    return runner.iter, "", 0


def _wish(runner: Any) -> None:
    runner.ctx.stop.wish("enough")


def _terminate(runner: Any) -> None:
    signal.raise_signal(signal.SIGTERM)


def _wished(task: Task) -> tuple[Any, list[str]]:
    """How a run ended of which one rank wished so, and where its rest differs from an unbroken one."""
    every = {"checkpoint": {"type": "CheckpointHook", "interval": -1}}
    same = {"default_hooks": every, "randomness": {"seed": 1, "deterministic": True}, "data": {"noise": 0.1}}
    end = _stopped(task, _wish, **same)
    rest, whole = task.train("stopped", resume=True, **same), task.train("whole", **same)
    paths = [str(CheckpointManager(runner.work_dir).latest()) for runner in (rest, whole)]
    return end, differences(exact_state(paths[0]), exact_state(paths[1]))


@behaviour(quick=True)
def stop_agreed(subject: Subject) -> None:
    """A stop that one rank alone wishes ends all after the same iteration, saved; the rest makes an unbroken run."""
    (finished, name, code), apart = expect_alike(subject.here(_wished), "end")
    expect(3 <= finished <= 5, f"a stop wished in iteration 3 came after {finished}")
    expect(name.removesuffix(".pth") == f"iter_{finished}", f"saved as {name!r} after iteration {finished}")
    expect(code == 130, f"exit code {code}")
    expect(not apart, f"{len(apart)} differences from the unbroken run, the first: {apart[:1]}")


def _preempted(task: Task) -> tuple[Any, bool]:
    end = _stopped(task, _terminate)
    dist.barrier()
    return end, (task.folder / "stopped" / ".requeue").exists()


@behaviour()
def preemption_agreed(subject: Subject) -> None:
    """SIGTERM to one rank: all save after the same iteration, and end with exit code 75 and a marker."""
    (finished, name, code), has_marker = expect_alike(subject.here(_preempted), "end")
    expect(name.removesuffix(".pth") == f"iter_{finished}", f"saved as {name!r} after iteration {finished}")
    expect(code == 75 and has_marker, f"exit code {code}, marker {has_marker}")


def _spent(task: Task) -> tuple[int, int]:
    runner = task.train("spent", train_cfg={"by_epoch": True, "max_duration": "0.2 s"})
    return runner.epoch, runner.iter


@behaviour()
def max_duration_agreed(subject: Subject) -> None:
    """max_duration in time, which passes differently on every rank, ends all after the same iteration."""
    expect_alike(subject.here(_spent), "end")


class ConformanceFailure(Exception):
    """Raised by the last rank."""


def _fail(runner: Any) -> None:
    raise ConformanceFailure("made to fail")


def _failing(task: Task) -> None:
    task.train("failing", custom_hooks=[AtIteration(2, _fail)])


@behaviour(quick=True)
def error_of_one_rank(subject: Subject) -> None:
    """An error on one rank ends all of them, and its traceback is what is seen."""
    try:
        subject.here(_failing)
    except AssertionError as error:
        last = subject.n_ranks - 1
        expect(f"rank {last} failed" in str(error), f"not of rank {last}: {error}")
        expect("ConformanceFailure: made to fail" in str(error), f"without the traceback: {error}")
        return
    raise AssertionError("no rank failed")


def _failing_save(task: Task) -> str:
    def spoil(runner: Any) -> None:
        raise AssertionError("not called")

    class Spoil(Hook):
        def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
            if runner.rank == 0:
                checkpoint["bad"] = spoil

    try:
        task.train("unsaved", custom_hooks=[Spoil()])
    except Exception as error:  # noqa: BLE001 - which one it is, is the question
        return f"{type(error).__name__}: {error}"
    return ""


@behaviour()
def failed_save(subject: Subject) -> None:
    """A checkpoint that rank 0 cannot write is an error on every rank, not a wait."""
    said = subject.here(_failing_save)
    expect(all(said), f"errors by rank: {said}")
