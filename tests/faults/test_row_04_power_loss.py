"""Power is lost at any moment, and with it any of the effects that no fsync has made safe: a checkpoint is there.

The same test with a save that leaves out one of the steps must find checkpoints lost: it has teeth.
"""

import io
import os
import stat

import pytest
from disk_model import crashes, put_files, read_files, steps_of
from harness import HALF_OF_LAYOUTS, Work, small_config
from os_layer import LazyBuffer
from saves import SCENARIOS, Expected, at_a_save, prepared


def without_fsync_of(left_out):
    """An fsync that is left out for files or folders, before the recording sees it."""

    def replaced(recording):
        return lambda fd: None if left_out(stat.S_ISDIR(os.fstat(fd).st_mode)) else recording(fd)

    return replaced


MUTANTS = {
    "no fsync of files": (without_fsync_of(lambda is_folder: not is_folder), io.BufferedWriter),
    "no fsync of folders": (without_fsync_of(lambda is_folder: is_folder), io.BufferedWriter),
    "fsync before flush": (None, LazyBuffer),
}


def lose_power(folder, layout, scenario, mutant=None, enough=None):
    """How many different disks there can be after a power loss during a save, and what is wrong on which; no more are
    looked at when `enough` are wrong."""
    at, settings = prepared(folder, layout, scenario)
    fsync, buffer = MUTANTS[mutant] if mutant else (None, io.BufferedWriter)
    found = []

    def experiment(save):
        expected = Expected(Work(small_config(folder.with_name("reader"), layout)))
        safe = expected.learn(folder) if scenario != "first save" else 0
        ops = save.recorded(buffer=buffer, fsync=fsync)
        if ops is None:
            yield
            return
        assert expected.learn(folder) == at
        # Nothing has been written that the recording did not see.
        assert steps_of(save.files, ops)[1] == read_files(folder, skip=save.logs)
        disk = folder.with_name("disk")
        for crash in crashes(save.files, ops):
            put_files(disk, crash.files)
            problem = expected.problem(disk, at if crash.marks else safe)
            found.append(f"after {crash.n_calls} calls, {crash.lost}: {problem}" if problem else "")
            if sum(map(bool, found)) == enough:
                break

    at_a_save(folder, at, experiment, has_best=scenario == "with the best", **settings)
    return len(found), [problem for problem in found if problem]


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("layout", HALF_OF_LAYOUTS)
def test_a_checkpoint_is_left_whatever_was_not_safe_yet(tmp_path, layout, scenario):
    n_states, problems = lose_power(tmp_path / "run", layout, scenario)
    assert problems == []
    assert n_states >= 60


@pytest.mark.parametrize("mutant", MUTANTS)
@pytest.mark.parametrize("layout", HALF_OF_LAYOUTS)
def test_a_save_that_leaves_out_a_step_is_caught(tmp_path, layout, mutant):
    _, problems = lose_power(tmp_path / "run", layout, "a save and a purge", mutant, enough=3)
    assert problems
