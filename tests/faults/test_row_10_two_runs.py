"""Two runs on one work_dir: the second one is refused, and a lock does not outlive a kill -9 by half a second."""

import os
import signal
import subprocess
import sys
import time

import pytest
from harness import Child

from trainwright.base.errors import WorkDirLockedError
from trainwright.checkpoint.run_lock import RunLock
from trainwright.engine import Hook
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


class Waits(Hook):
    """Says that it trains, and goes on training."""

    def __init__(self, told):
        self.told = told

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            with open(self.told, "w") as file:
                file.write(" ".join(str(pid) for pid in worker_pids()))
            while True:
                time.sleep(0.05)


def worker_pids():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()


def config(folder, n_workers):
    cfg = toy_config(folder)
    loader = dict(cfg["train_dataloader"])
    if n_workers:
        loader.update(num_workers=n_workers, persistent_workers=True)
    return {**cfg, "train_dataloader": loader}


def train(folder, told, n_workers):
    Runner.from_cfg({**config(folder, n_workers), "custom_hooks": [Waits(told)]}).train()


def started(tmp_path, n_workers):
    """A process that trains in ``tmp_path/run``, and its workers."""
    told = tmp_path / "told"
    child = Child(train, str(tmp_path / "run"), str(told), n_workers)
    end = time.monotonic() + 60
    while not (told.exists() and told.read_text().strip() or (told.exists() and not n_workers)):
        assert time.monotonic() < end
        assert not child.ended(0.02)
    return child, [int(pid) for pid in told.read_text().split()]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_the_second_run_is_refused_and_does_no_harm(tmp_path):
    child, _ = started(tmp_path, 0)
    try:
        before = sorted(path.name for path in (tmp_path / "run").glob("*.pth"))
        second = Runner.from_cfg(config(tmp_path / "run", 0))
        with pytest.raises(WorkDirLockedError, match=f"another run works in .*: process {child.pid} on .*, since 20"):
            second.train()
        assert sorted(path.name for path in (tmp_path / "run").glob("*.pth")) == before
        assert not child.ended(0.0)
        second.val()  # reads only
        Runner.from_cfg(config(tmp_path / "elsewhere", 0)).train()
    finally:
        child.kill()
        assert child.ended()
    second.train()


@pytest.mark.parametrize("n_workers", [0, 2])
def test_free_at_once_after_a_kill(tmp_path, n_workers):
    child, workers = started(tmp_path, n_workers)
    stopped = []
    try:
        assert len(workers) >= n_workers
        for pid in workers:  # they live on as long as can be: the lock must not wait for them
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        child.kill()
        begin = time.monotonic()
        while True:
            try:
                with RunLock(tmp_path / "run"):
                    break
            except WorkDirLockedError:
                assert time.monotonic() - begin < 0.5
                time.sleep(0.005)
        assert time.monotonic() - begin < 0.5
        assert all(is_alive(pid) for pid in workers)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGKILL)
        child.kill()
        assert child.ended()
    Runner.from_cfg(config(tmp_path / "run", 0)).train()


def test_a_process_that_was_not_forked_is_refused_too(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    code = (
        "import sys\n"
        "from trainwright.base.errors import WorkDirLockedError\n"
        "from trainwright.checkpoint.run_lock import RunLock\n"
        "try:\n"
        "    RunLock(sys.argv[1]).acquire()\n"
        "except WorkDirLockedError as error:\n"
        "    sys.stdout.write(str(error))\n"
    )
    with RunLock(folder):
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert f"another run works in '{folder}': process {os.getpid()} on " in done.stdout
