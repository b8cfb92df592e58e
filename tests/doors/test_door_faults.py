"""The quick subset of the fault suite (tests/faults) through the other two doors: kills, saves that are cut off, power
loss, and files that are damaged."""

import random
from functools import partial
from pathlib import Path

import pytest
from corruptions import KINDS, damaged
from disk_model import crashes, put_files, read_files, steps_of
from door_faults import DoorWork, run_to_save, train, trial_of
from kills import kill_again_and_again
from saves import Expected, at_a_save, cut_at_each_point

from doors import NEW_DOORS
from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import CheckpointManager
from trainwright.testing.toys import differences

AT = {"SimpleTrainer": 3, "EpochBasedRunner": 4, "IterBasedRunner": 3}  # a save that purges the one before it


def kills(folder, door, n_kills, seed):
    report = kill_again_and_again(folder, trial_of(folder, door), n_kills, seed)
    assert report.problems == []
    assert report.n_kills == n_kills
    assert report.n_completed >= 1


@pytest.mark.parametrize("door", NEW_DOORS)
def test_killed_a_few_times(tmp_path, door):
    kills(tmp_path, door, 4, seed=2)


@pytest.mark.conformance
@pytest.mark.parametrize("door", NEW_DOORS)
def test_killed_fifty_times(tmp_path, door):
    kills(tmp_path, door, 50, seed=1)


def at_the_save(door, folder, experiment):
    """Repeat the save with ``experiment(save, expected, safe, at)``; safe is what was there before."""
    at = AT[door]

    def with_expected(save):
        expected = Expected(DoorWork(door))
        yield from experiment(save, expected, expected.learn(folder), at)

    at_a_save(folder, at, with_expected, run=partial(run_to_save, door))


@pytest.mark.parametrize("door", NEW_DOORS)
def test_a_save_that_is_cut_off_anywhere(tmp_path, door):
    folder, points, problems = tmp_path / "run", [], []

    def experiment(save, expected, safe, at):
        assert at > safe
        yield from cut_at_each_point(save, expected, at, safe, points, problems)

    at_the_save(door, folder, experiment)
    assert problems == []
    assert len(points) >= 10


# The files of the others hold random streams, whose many writes make many moments.
@pytest.mark.parametrize(
    "door",
    [
        "EpochBasedRunner",
        pytest.param("SimpleTrainer", marks=pytest.mark.conformance),
        pytest.param("IterBasedRunner", marks=pytest.mark.conformance),
    ],
)
def test_power_is_lost(tmp_path, door):
    folder, found = tmp_path / "run", []

    def experiment(save, expected, safe, at):
        ops = save.recorded()
        if ops is None:
            yield
            return
        assert expected.learn(folder) == at
        assert steps_of(save.files, ops)[1] == read_files(folder, skip=save.logs)
        disk = tmp_path / "disk"
        for crash in crashes(save.files, ops):
            put_files(disk, crash.files)
            problem = expected.problem(disk, at if crash.marks else safe)
            found.append(f"after {crash.n_calls} calls, {crash.lost}: {problem}" if problem else "")

    at_the_save(door, folder, experiment)
    assert [problem for problem in found if problem] == []
    assert len(found) >= 20


@pytest.fixture(scope="module", params=NEW_DOORS)
def two_saves(request, tmp_path_factory):
    """A folder with two checkpoints: door, paths of the earlier and the later one."""
    folder = tmp_path_factory.mktemp("two") / "run"
    train(request.param, folder, keep=2, link=False)
    later = DoorWork(request.param).find(folder)
    earlier = [path for path in CheckpointManager(folder).candidates() if path != later]
    return request.param, folder, earlier, later


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_newest_file_is_found_out_and_stepped_over(two_saves, kind):
    door, folder, earlier, later = two_saves
    work, draw, good = DoorWork(door), random.Random(0), Path(later).read_bytes()
    content = work.direct(later)
    n_found_out = 0
    try:
        for _ in range(8 if kind in ("flipped", "truncated", "zeroed") else 1):
            data = damaged(good, kind, draw)
            Path(later).unlink(missing_ok=True)
            if data is not None:
                Path(later).write_bytes(data)
            if work.find(folder) == later:  # a bit that nobody reads
                assert differences(work.direct(later), content) == []
                continue
            n_found_out += 1
            assert work.find(folder) in earlier
            with pytest.raises(CheckpointError):
                work.direct(later)
    finally:
        Path(later).write_bytes(good)
    assert n_found_out
