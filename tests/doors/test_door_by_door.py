"""The same small training through every door and in a bare loop: what it leaves is alike, bit for bit."""

import pytest

from doors import DOORS, Job, bare
from trainwright.testing.toys import differences

JOBS = {
    "plain": {},
    "global streams shuffle": {"own_generator": False},
    "windows": {"window": 2},
    "workers": {"n_workers": 2},
}


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("door", DOORS)
def test_a_door_trains_as_a_bare_loop(tmp_path, door, name):
    wanted = bare(Job(tmp_path / "bare", **JOBS[name]))
    found = DOORS[door](Job(tmp_path / "door", **JOBS[name]))
    assert differences(found.compared(), wanted.compared()) == []
    assert len(wanted.losses) == 10


def test_another_seed_is_seen(tmp_path):
    one, other = (bare(Job(tmp_path, seed=seed)) for seed in (1, 2))
    assert differences(one.compared(), other.compared())
