"""The core of the conformance suite through the other two doors, on one rank and on two: docs/conformance.md says which
behaviours. The reference is a Runner in one process on the batch of all ranks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from door_task import DoorSubject

from trainwright.checkpoint import read_checkpoint
from trainwright.testing.conformance.comparing import newest
from trainwright.testing.conformance.suite import BEHAVIOURS
from trainwright.testing.conformance.task import ADAM, ConformanceModel
from trainwright.testing.toys import differences

DOORS = ["SimpleTrainer", "EpochBasedRunner"]
QUICK = ["adamw_as_one_process", "accumulation", "error_of_one_rank"]
LONG = [
    "plain_loop",
    "sgd_as_one_process",
    "momentum_as_one_process",
    "foreach_as_one_process",
    "loop_as_one_process",
    "clip_by_norm",
    "tied_weights",
    "two_hundred_iterations",
    "rank_0_alone_writes",
]


def ask(tmp_path, door, name, n_ranks):
    subject = DoorSubject(None, n_ranks, tmp_path, door=door)
    BEHAVIOURS[name].check(subject)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("door", DOORS)
def test_two_ranks(tmp_path, door, name):
    ask(tmp_path, door, name, 2)


@pytest.mark.conformance
@pytest.mark.parametrize("n_ranks", [1, 2])
@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("door", DOORS)
def test_more_of_the_core(tmp_path, door, name, n_ranks):
    ask(tmp_path, door, name, n_ranks)


# What the suite asks of a Runner by the names of its files is asked here in the doors' own ----------------------------
EVERYTHING = {
    "data": {"size": 40, "noise": 0.1},
    "model": {"type": "ConformanceModel", "dropout": 0.3},
    "optim_wrapper": {"optimizer": ADAM},
}
WINDOW = {"optim_wrapper": {"optimizer": ADAM, "accumulative_counts": 2}}


def saved_at(folder, door, at):
    return str(Path(folder) / (f"model_{at - 1:07d}.pth" if door == "SimpleTrainer" else f"iter_{at}.pth"))


def end_of(run):
    wrapper = run.strategy.optim_state_dict()
    weights = run.strategy.unwrapped_model.state_dict()
    return {"weights": weights, "optimizer": {key: wrapper[key] for key in ("state", "param_groups")}}


def resumed_differs(task, at, changes):
    """Where the end of a run of 10 iterations differs from that of one that was taken up at iteration ``at``."""
    common = {**EVERYTHING, **changes}
    whole = task.train("whole", save_every=at, **common)
    torch.rand(7)  # whoever resumes has drawn other numbers
    rest = task.train("rest", save_every=at, resume_from=saved_at(whole.work_dir, task.door, at), **common)
    losses = [whole.scalars["train/loss"][at:], rest.scalars["train/loss"]]
    return differences({**end_of(rest), "losses": losses[1]}, {**end_of(whole), "losses": losses[0]})


def exact(tmp_path, door, n_ranks, at, changes):
    subject = DoorSubject(None, n_ranks, tmp_path, door=door)
    assert subject.here(resumed_differs, at, changes) == [[]] * n_ranks


@pytest.mark.parametrize("door", DOORS)
def test_two_ranks_are_taken_up_in_an_epoch(tmp_path, door):
    exact(tmp_path, door, 2, 3, {})


@pytest.mark.conformance
@pytest.mark.parametrize("changes", [{}, WINDOW], ids=["plain", "window"])
@pytest.mark.parametrize("at", [3, 5])
@pytest.mark.parametrize("door", DOORS)
def test_two_ranks_are_taken_up_anywhere(tmp_path, door, at, changes):
    exact(tmp_path, door, 2, at, changes)


def names_and_shapes(task):
    run = task.train("names", optim_wrapper={"optimizer": ADAM})
    path = newest(run.work_dir)
    return {name: tuple(value.shape) for name, value in run.read(path)["state_dict"].items()}, path


@pytest.mark.parametrize("door", DOORS)
def test_checkpoints_have_plain_data_under_the_names_of_the_users_model(tmp_path, door):
    """No ``module.`` of a wrapper; and torch reads them with weights_only."""
    wanted = {name: tuple(value.shape) for name, value in ConformanceModel().state_dict().items()}
    found = DoorSubject(None, 2, tmp_path, door=door).here(names_and_shapes)
    assert [shapes for shapes, _ in found] == [wanted] * 2
    path = found[0][1]
    tree = torch.load(path, weights_only=True)
    assert differences(tree, read_checkpoint(path)) == []
    assert ("model" if door == "SimpleTrainer" else "state_dict") in tree
