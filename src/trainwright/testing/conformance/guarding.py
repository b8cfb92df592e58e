"""Steps that spoil a training, and weights that part: found and answered by all ranks alike."""

from __future__ import annotations

from typing import Any

import torch

from trainwright import dist
from trainwright.base.errors import DesyncError, NonFiniteLossError
from trainwright.engine import Hook
from trainwright.hooks import LossGuardHook
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import expect, expect_alike, expect_close, saved
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import Task


def _guarded(task: Task, policy: str) -> dict[str, Any]:
    """What the guard did about a sample that is NaN, which lies on one data rank."""
    hook = LossGuardHook(policy=policy, interval=3)
    hooks = {"checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False}}
    runner = task.runner(f"guard-{policy}", custom_hooks=[hook], default_hooks=hooks, data={"nan_at": 21})
    error = ""
    try:
        runner.train()
    except NonFiniteLossError as raised:
        error = type(raised).__name__
    events = [event["iteration"] for event in hook.events]
    return {"answer": (error, runner.iter, sorted(hook.skipped), events), "state": saved(runner)}


def _expect_guard(subject: Subject, policy: str) -> tuple[str, int, list[int], list[int]]:
    one, ranks = subject.alone(_guarded, policy), subject.here(_guarded, policy)
    answer: Any = expect_alike([found["answer"] for found in ranks], "answer")
    expect_close(answer, one["answer"], "the guard's answer (error, end, left out, events)")
    expect_close(ranks[0]["state"], one["state"], "state", 1e-5)
    expect(all(bool(torch.isfinite(v).all()) for v in ranks[0]["state"]["state_dict"].values()), "NaN was saved")
    return answer  # type: ignore[no-any-return]


@behaviour(quick=True)
def nan_skipped(subject: Subject) -> None:
    """LossGuardHook(policy='skip'): a NaN on one rank is left out by all, and training ends as one process's."""
    error, _, skipped, _ = _expect_guard(subject, "skip")
    expect(skipped and not error, f"left out {skipped}, error {error!r}")


@behaviour()
def nan_stops(subject: Subject) -> None:
    """LossGuardHook(policy='stop'): a NaN on one rank stops all before anything spoilt is saved."""
    error, _, _, _ = _expect_guard(subject, "stop")
    expect(error == "NonFiniteLossError", f"error {error!r}")


@behaviour()
def nan_rolled_back(subject: Subject) -> None:
    """LossGuardHook(policy='rollback'): all go back to the last checkpoint and on from there, as one process."""
    error, _, skipped, _ = _expect_guard(subject, "rollback")
    expect(skipped and not error, f"left out {skipped}, error {error!r}")


class _FlipBit(Hook):
    """Flips one bit of the first weight that the last rank holds, after iteration 3."""

    priority = "HIGH"

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 != 3 or dist.get_rank() != dist.get_world_size() - 1:
            return
        for parameter in runner.strategy.unwrapped_model.parameters():
            part = dist.local(parameter.detach())
            if part.numel():
                part.view(torch.int32).reshape(-1)[:1].bitwise_xor_(1)
                return


def _checked(task: Task, flips: bool) -> tuple[int, str]:
    hooks = [{"type": "DesyncCheckHook", "interval": 4}, *([_FlipBit()] if flips else [])]
    runner = task.runner("desync", custom_hooks=hooks)
    try:
        runner.train()
    except DesyncError as error:
        return runner.iter + 1, str(error)
    return runner.iter, ""


@behaviour()
def no_desync_of_its_own(subject: Subject) -> None:
    """DesyncCheckHook finds nothing in a run that is well."""
    found = expect_alike(subject.here(_checked, False), "end")
    expect(tuple(found) == (8, ""), f"ended after iteration {found[0]}: {found[1]}")


@behaviour(n_ranks=2)
def desync_is_found(subject: Subject) -> None:
    """A bit that flips in a weight on one rank is found at the next check, by the weight's name."""
    for rank, (ended, said) in enumerate(subject.here(_checked, True)):
        expect(ended == 4 and "embed.weight" in said, f"rank {rank} ended after iteration {ended}: {said!r}")
