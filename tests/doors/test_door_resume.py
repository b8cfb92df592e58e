"""A training that is taken up through each door, at every iteration, ends as the unbroken one, bit for bit."""

import pytest
import torch

from doors import DOORS, NEW_DOORS, SEED, Job, path_of
from trainwright.testing.toys import differences

JOBS = {
    "plain": {},
    "global streams shuffle": {"own_generator": False},
    "windows": {"window": 2},
    "workers": {"n_workers": 2},
    "endless": {"is_endless": True},
    "workflow": {"validates": True},
}


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """Unbroken runs with a checkpoint after each iteration, by door and job."""
    made = {}

    def whole(door, name):
        if (door, name) not in made:
            folder = tmp_path_factory.mktemp("whole")
            made[door, name] = folder, DOORS[door](Job(folder, save_at=0, **JOBS[name]))
        return made[door, name]

    return whole


def resumed_differs(wholes, door, name, at, folder, seed=77):
    """Where the end of a run that is taken up after so many iterations differs from the end of the whole one."""
    whole_folder, whole = wholes(door, name)
    torch.rand(7)  # whoever resumes has drawn other numbers
    job = Job(folder, resume_from=path_of(whole_folder, at), **JOBS[name], seed=seed)
    rest = DOORS[door](job)
    assert len(rest.losses) == job.n_iters - at
    return differences({**rest.compared(), "losses": whole.losses[:at] + rest.losses}, whole.compared())


@pytest.mark.parametrize("at", range(1, 10))
@pytest.mark.parametrize("name", ["plain", "global streams shuffle", "windows"])
@pytest.mark.parametrize("door", NEW_DOORS)
def test_taken_up_anywhere(wholes, tmp_path, door, name, at):
    """At 5 an epoch has ended; odd ones lie inside a window of two."""
    assert resumed_differs(wholes, door, name, at, tmp_path) == []


@pytest.mark.parametrize("at", [3, 5])
@pytest.mark.parametrize("door", NEW_DOORS)
def test_taken_up_with_workers(wholes, tmp_path, door, at):
    assert resumed_differs(wholes, door, "workers", at, tmp_path) == []


@pytest.mark.parametrize("at", [3, 5, 8])
@pytest.mark.parametrize("door", ["EpochBasedRunner", "IterBasedRunner"])
def test_taken_up_in_a_workflow(wholes, tmp_path, door, at):
    """Validation draws random numbers too, for its order and in its steps."""
    assert resumed_differs(wholes, door, "workflow", at, tmp_path) == []


@pytest.mark.parametrize("at", [3, 5, 8])
def test_taken_up_with_a_loader_that_does_not_end(wholes, tmp_path, at):
    """Nobody sees into it: whoever builds it gives its generator the same seed, and it is read again from the start."""
    assert resumed_differs(wholes, "SimpleTrainer", "endless", at, tmp_path, SEED) == []


@pytest.mark.parametrize("door", NEW_DOORS)
def test_a_resume_from_the_wrong_place_is_seen(wholes, tmp_path, door):
    """The comparison can fail: the checkpoint of another iteration is no good."""
    whole_folder, whole = wholes(door, "plain")
    rest = DOORS[door](Job(tmp_path, resume_from=path_of(whole_folder, 4)))
    assert differences({"losses": whole.losses[:3] + rest.losses}, {"losses": whole.losses})
