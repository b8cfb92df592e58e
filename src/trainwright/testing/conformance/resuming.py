"""Runs that are taken up: under the same strategy bit for bit, under another one within rounding."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import CheckpointError, ConfigError, Interrupted
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.dist import data_info
from trainwright.engine import Event
from trainwright.testing.conformance.behaviour import behaviour
from trainwright.testing.conformance.comparing import (
    checkpoint,
    expect,
    expect_alike,
    expect_close,
    mean_losses,
    newest,
    summary,
)
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.task import ADAM, Task
from trainwright.testing.rank_runs import SampleRecorder, exact_state, logged
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences

# Everything that draws random numbers or has a state of its own, in 10 iterations of 2 epochs.
_ALL: dict[str, Any] = {
    "data": {"size": 40, "noise": 0.1},
    "model": {"type": "ConformanceModel", "dropout": 0.3},
    "optim_wrapper": {"optimizer": ADAM, "clip_grad": {"max_norm": 0.5}},
    "param_scheduler": {"type": "CosineAnnealingLR", "by_epoch": False, "T_max": 10},
    "custom_hooks": [{"type": "EMAHook", "momentum": 0.3}],
    "randomness": {"seed": 1, "deterministic": True},
}


def _differences(task: Task, at: int, changes: Mapping[str, Any], layout: str = "auto") -> list[str]:
    """Where the end of a run differs from that of one that was taken up at iteration `at`."""
    every = {"checkpoint": {"type": "CheckpointHook", "interval": at, "by_epoch": False, "layout": layout}}
    common = {**_ALL, "default_hooks": every, **changes}
    whole = task.train("whole", **common)
    torch.rand(7)  # whoever resumes has drawn other numbers
    saved_at = checkpoint(Path(whole.work_dir), f"iter_{at}")
    rest = task.train("rest", load_from=saved_at, resume=True, **common)
    last = f"iter_{whole.max_iters}"
    one, other = (
        {
            **exact_state(checkpoint(Path(runner.work_dir), last)),
            "buffers": dict(runner.strategy.unwrapped_model.named_buffers()),  # of this rank
        }
        for runner in (whole, rest)
    )
    return differences(one, other)


def _expect_exact(subject: Subject, at: int, layout: str = "auto", **changes: Any) -> None:
    for rank, found in enumerate(subject.here(_differences, at, changes, layout)):
        expect(not found, f"rank {rank}: {len(found)} differences, the first: {found[0] if found else ''}")


@behaviour(quick=True)
def exact_in_an_epoch(subject: Subject) -> None:
    """A run taken up in the middle of an epoch ends as the unbroken one, bit for bit."""
    _expect_exact(subject, 3)


@behaviour()
def exact_at_the_end_of_an_epoch(subject: Subject) -> None:
    """A run taken up at the end of an epoch ends as the unbroken one, bit for bit."""
    _expect_exact(subject, 5)


@behaviour()
def exact_from_a_file(subject: Subject) -> None:
    """The same from a file that rank 0 gathered."""
    _expect_exact(subject, 3, "file")


@behaviour()
def exact_from_a_step_folder(subject: Subject) -> None:
    """The same from a step folder into which each rank wrote its part."""
    _expect_exact(subject, 3, "folder")


@behaviour()
def exact_in_a_window(subject: Subject) -> None:
    """A run taken up inside an accumulation window ends as the unbroken one, bit for bit."""
    _expect_exact(subject, 3, optim_wrapper={"optimizer": ADAM, "accumulative_counts": 2})


@behaviour()
def exact_with_batch_norm(subject: Subject) -> None:
    """A model with running statistics, which each rank has its own of, goes on bit for bit."""
    _expect_exact(subject, 3, model={"type": "ConformanceModel", "batch_norm": True})


@behaviour()
def exact_with_streams_of_ranks(subject: Subject) -> None:
    """With diff_rank_seed every rank finds its own random streams again, bit for bit."""
    _expect_exact(subject, 3, randomness={"seed": 1, "deterministic": True, "diff_rank_seed": True})


@behaviour()
def exact_with_a_scaler(subject: Subject) -> None:
    """Under autocast to float16 the loss scale is taken up too, bit for bit."""
    scaling = {"init_scale": 256.0, "growth_interval": 2}
    wrapper = {"type": "AmpOptimWrapper", "dtype": "float16", "loss_scale": scaling, "optimizer": ADAM}
    _expect_exact(subject, 3, optim_wrapper=wrapper)


# -- other strategies and numbers of ranks -----------------------------------------------------------------------------
_SMOOTH = {**_ALL, "model": {"type": "ConformanceModel"}}
_TO_4 = {"checkpoint": {"type": "CheckpointHook", "interval": 4, "by_epoch": False}}


def _whole(task: Task) -> dict[str, Any]:
    return {**summary(task.train("whole", **_SMOOTH, default_hooks=_TO_4)), "path": str(task.folder / "whole")}


def _rest(task: Task, folder: str, name: str) -> dict[str, Any]:
    path = checkpoint(Path(folder), name)
    return summary(task.train("rest", **_SMOOTH, default_hooks=_TO_4, load_from=path, resume=True))


def _expect_same_end(ranks: list[dict[str, Any]], whole: list[dict[str, Any]]) -> None:
    found, wanted = (mean_losses(part)["train/loss"] for part in (ranks, whole))
    expect_close(found[4:], wanted[4:], "losses after iteration 4", 1e-5)  # those before are rank 0's, from its history
    expect_close(ranks[0]["state"], whole[0]["state"], "state", 1e-5)


@behaviour(quick=True)
def loaded_by_one_process(subject: Subject) -> None:
    """One process takes a checkpoint up: weights, optimizer, averages, position; the end differs by 1e-5 at most."""
    whole = subject.here(_whole)
    _expect_same_end([subject.alone(_rest, whole[0]["path"], "iter_4")], whole)


@behaviour()
def loads_from_one_process(subject: Subject) -> None:
    """One process's checkpoint is taken up, with the same end within 1e-5."""
    folder = str(subject.folder / "of one")
    one = subject.alone(_whole_in, folder)
    _expect_same_end(subject.here(_rest, folder, "iter_4"), [one])


def _whole_in(task: Task, folder: str) -> dict[str, Any]:
    return summary(task.train(folder, **_SMOOTH, default_hooks=_TO_4))


def _part(task: Task, name: str, stop_after: int | None, load_from: str | None) -> dict[str, Any]:
    recorder = SampleRecorder()
    hooks: list[Any] = [recorder]
    if stop_after is not None:
        hooks.append(StopAt(Event.AFTER_TRAIN_ITER, stop_after))
    found: dict[str, Any] = {"data_rank": 0}
    runner = task.runner(
        name,
        **{**_SMOOTH, "custom_hooks": [*_SMOOTH["custom_hooks"], *hooks]},
        load_from=load_from,
        resume=load_from is not None,
    )
    with contextlib.suppress(Interrupted):
        runner.train()
    found.update(data_rank=data_info()[0], batches=recorder.batches, losses={"train/loss": logged(runner)})
    return {**found, "path": newest(runner.work_dir)}


def _merged(ranks: list[dict[str, Any]]) -> list[list[float]]:
    by_data_rank = {found["data_rank"]: found["batches"] for found in ranks}
    return [sorted(sum(parts, [])) for parts in zip(*by_data_rank.values(), strict=True)]


@behaviour()
def number_of_ranks_changes(subject: Subject) -> None:
    """Begun on all ranks, taken up by one process, and by all again: one order of samples, losses within 1e-5."""
    whole = subject.alone(_part, "order", None, None)
    first = subject.here(_part, "first", 3, None)
    second = subject.alone(_part, "second", 3, first[0]["path"])
    third = subject.here(_part, "third", None, second["path"])
    merged = _merged(first) + _merged([second]) + _merged(third)
    expect_close(merged, _merged([whole]), "samples of an iteration")
    for part, begin in ((first, 0), ([second], 3), (third, 6)):
        found, wanted = mean_losses(part)["train/loss"][begin:], whole["losses"]["train/loss"][begin:]
        expect_close(found, wanted[: len(found)], f"losses after iteration {begin}", 1e-5)


# -- parts of a state ----------------------------------------------------------------------------------------------
def _weights_file(task: Task, folder: str) -> dict[str, Any]:
    task.train(folder)
    tree = read_checkpoint(newest(folder))
    tree["state_dict"] = {name: value for name, value in tree["state_dict"].items() if name != "head.weight"}
    torch.save(tree, f"{folder}/part.pth")
    weights: dict[str, Any] = tree["state_dict"]
    return weights


def _loaded_part(task: Task, path: str) -> dict[str, Any]:
    runner = task.train("part", load_from=path, optim_wrapper={"optimizer": {"type": "SGD", "lr": 1e-9}})
    tree: dict[str, Any] = read_checkpoint(newest(runner.work_dir))["state_dict"]
    return tree


@behaviour()
def part_of_the_weights(subject: Subject) -> None:
    """load_from with a file that lacks a layer loads the others, and that layer stays as it is made, on all ranks."""
    folder = str(subject.folder / "of one")
    wanted = subject.alone(_weights_file, folder)
    found = expect_alike(subject.here(_loaded_part, f"{folder}/part.pth"), "weights")
    expect_close({name: found[name] for name in wanted}, wanted, "loaded weights", 1e-6)


def _refused(task: Task, path: str) -> str:
    try:
        task.train("refused", load_from=path, resume=True)
    except (CheckpointError, ConfigError) as error:
        return str(error)
    return ""


@behaviour()
def missing_weights_named(subject: Subject) -> None:
    """A resume from a checkpoint that lacks a weight is an error on every rank, with the weight's name."""
    folder = str(subject.folder / "of one")
    subject.alone(_weights_file, folder)
    for rank, said in enumerate(subject.here(_refused, f"{folder}/part.pth")):
        expect("head.weight" in said, f"rank {rank} said {said!r} to a checkpoint without head.weight")


def _without_optimizer(task: Task) -> tuple[int, int]:
    hook = {"type": "CheckpointHook", "interval": 1, "save_optimizer": False, "save_param_scheduler": False}
    common = {"optim_wrapper": {"optimizer": ADAM}, "default_hooks": {"checkpoint": hook}}
    first = task.train("lean", train_cfg={"by_epoch": True, "max_epochs": 1}, **common)
    return first.iter, task.train("lean", resume=True, **common).iter


@behaviour()
def resume_without_optimizer(subject: Subject) -> None:
    """A checkpoint that was saved without the optimizer is taken up, and counts on."""
    found = expect_alike(subject.here(_without_optimizer), "iterations")
    expect(tuple(found) == (4, 8), f"ended after iterations {found}")
