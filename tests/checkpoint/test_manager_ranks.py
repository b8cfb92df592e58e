"""Two ranks and one folder: rank 0 decides, and an error there is one on both."""

import errno
import os
from unittest import mock

import pytest
import torch

from trainwright import dist
from trainwright.base.errors import SaveError, WorkDirLockedError
from trainwright.checkpoint import CheckpointManager, read_checkpoint
from trainwright.checkpoint.run_lock import RunLock, is_held
from trainwright.testing.ranks import run_ranks


def tree(n_iters):
    return {"meta": {"iter": n_iters, "epoch": 0}, "rng": [{"rank": n} for n in range(2)], "w": torch.ones(40)}


def write(path, content):
    """As a strategy of several ranks does."""
    from trainwright.checkpoint import write_file

    dist.from_main(lambda: write_file(path, content))


def a_run(folder, layout):
    manager = CheckpointManager(folder, write)
    rank = dist.get_rank()
    for n_iters in (1, 2, 3):
        manager.save(f"iter_{n_iters}.pth", tree(n_iters), layout)
        dist.barrier()
    newest = str(manager.folder / ("iter_3.pth" if layout == "file" else "iter_3"))
    oldest = newest.replace("iter_3", "iter_1")
    assert manager.counts(oldest)
    manager.point_to(newest)
    assert manager.purge([oldest], newest) == [oldest]
    if rank == 0:
        spoilt = newest if layout == "file" else os.path.join(newest, "state.pth")
        os.truncate(spoilt, os.path.getsize(spoilt) - 1)
    dist.barrier()
    found = manager.latest()
    assert not manager.counts(newest)

    real = os.fsync
    refusal = OSError(errno.ENOSPC, "No space left on device")
    refusing = mock.patch.object(os, "fsync", side_effect=refusal if rank == 0 else real)
    with refusing, pytest.raises(SaveError, match="No space left on device"):
        manager.save("iter_4.pth", tree(4), layout)
    dist.barrier()
    return found, sorted(os.listdir(folder))


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_both_do_the_same(tmp_path, layout):
    end = ".pth" if layout == "file" else ""
    results = run_ranks(2, a_run, str(tmp_path), layout)
    second = str(tmp_path / f"iter_2{end}")
    assert results == [(second, [f"iter_2{end}", f"iter_3{end}", "last_checkpoint"])] * 2
    assert [item["rank"] for item in read_checkpoint(second)["rng"]] == [0, 1]


def refused_on_one(folder):
    manager = CheckpointManager(folder)
    real = os.fsync
    refusal = OSError(errno.EIO, "Input/output error")
    refusing = mock.patch.object(os, "fsync", side_effect=refusal if dist.get_rank() == 1 else real)
    with refusing, pytest.raises(SaveError, match="rank 1 failed with OSError.*Input/output error"):
        manager.save("iter_1.pth", tree(1), "folder")
    dist.barrier()
    return os.listdir(folder)


def test_one_rank_that_cannot_write_its_part(tmp_path):
    assert run_ranks(2, refused_on_one, str(tmp_path)) == [[], []]


def locked(folder):
    with RunLock(folder):
        held = is_held(folder)
        dist.barrier()
    dist.barrier()
    return held


def refused(folder):
    with pytest.raises(WorkDirLockedError, match="another run works in"):
        RunLock(folder).acquire()
    return True


def test_the_lock_is_rank_0s_and_a_refusal_is_everybodys(tmp_path):
    assert run_ranks(2, locked, str(tmp_path)) == [True, False]
    with RunLock(tmp_path):
        assert run_ranks(2, refused, str(tmp_path)) == [True, True]
