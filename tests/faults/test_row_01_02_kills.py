"""SIGKILL at random moments: nothing is lost, and what is completed is as if nothing had happened."""

import pytest
from kills import kill_again_and_again, one_process, two_ranks

LONG = pytest.mark.conformance


@pytest.mark.parametrize(
    ("layout", "max_keep"),
    [("file", 1), ("folder", 3), pytest.param("file", 3, marks=LONG), pytest.param("folder", 1, marks=LONG)],
)
def test_one_process_is_killed_fifty_times(tmp_path, layout, max_keep):
    trial = one_process(tmp_path, layout, checkpoint={"max_keep_ckpts": max_keep})
    report = kill_again_and_again(tmp_path, trial, 50, seed=max_keep)
    assert report.problems == []
    assert report.n_kills == 50
    assert report.n_completed >= 5


# A hundred together; FSDP takes twice as long.
@LONG
@pytest.mark.parametrize(
    ("strategy", "layout", "n_kills"), [("DDPStrategy", "file", 70), ("FSDPStrategy", "folder", 30)]
)
def test_one_of_two_ranks_is_killed_a_hundred_times(tmp_path, strategy, layout, n_kills):
    trial = two_ranks(tmp_path, strategy, layout, checkpoint={"max_keep_ckpts": 1})
    report = kill_again_and_again(tmp_path, trial, n_kills, seed=3)
    assert report.problems == []
    assert report.n_kills == n_kills
    assert report.n_completed >= 3
