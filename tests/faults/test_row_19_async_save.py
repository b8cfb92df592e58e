"""Row 19: a save in the background that fails, is slow, or is cut off."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial

import kills
import pytest
import torch
from harness import HALF_OF_LAYOUTS, LAYOUTS, Child, TellSaved, fork, same_training, small_config, train
from kills import kill_again_and_again, one_process, two_ranks

from trainwright.base.errors import SaveError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint import CheckpointManager, read_checkpoint, write_file
from trainwright.checkpoint.async_save import AsyncSaver, Job
from trainwright.engine import Hook
from trainwright.io.atomic import TMP_PREFIX
from trainwright.runner import Runner
from trainwright.strategies import state as strategies
from trainwright.testing.rank_runs import SampleRecorder
from trainwright.testing.ranks import run_ranks

ASYNC = {"async_save": True, "max_keep_ckpts": 1}


class TellPublished(TellSaved):
    """As :class:`TellSaved`: when a save in the background is known to be done, training is further."""

    def after_save_checkpoint(self, runner, path):
        if runner.rank == 0:
            self.counter.value = max(self.counter.value, int("".join(filter(str.isdigit, os.path.basename(path)))))


@pytest.fixture
def told_by_path(monkeypatch):
    monkeypatch.setattr(kills, "TellSaved", TellPublished)


def slow_down(delay_s=0.02, fails=()):
    """From now on, in this process, a file takes so long to be written; those of these names cannot be."""
    state = {"now": 0, "most": 0}

    def write(path, tree):
        state["now"] += 1
        state["most"] = max(state["most"], state["now"])
        try:
            time.sleep(delay_s)
            if os.path.basename(path) in fails:
                raise OSError(28, "No space left on device")
            write_file(path, tree)
        finally:
            state["now"] -= 1

    strategies.write_file = write
    return state


# killed ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", HALF_OF_LAYOUTS)
def test_a_process_that_saves_in_the_background_is_killed_twenty_times(tmp_path, layout, told_by_path):
    report = kill_again_and_again(tmp_path, one_process(tmp_path, layout, checkpoint=ASYNC), 20, seed=5)
    assert report.problems == []
    assert report.n_kills == 20
    assert report.n_completed >= 1


@pytest.mark.conformance  # long
@pytest.mark.parametrize(("strategy", "layout"), [("DDPStrategy", "file"), ("FSDPStrategy", "folder")])
def test_one_of_two_ranks_that_save_in_the_background_is_killed_ten_times(tmp_path, strategy, layout, told_by_path):
    report = kill_again_and_again(tmp_path, two_ranks(tmp_path, strategy, layout, checkpoint=ASYNC), 10, seed=6)
    assert report.problems == []
    assert report.n_kills == 10


def _stuck_in_the_second_file(folder, pipe):
    def write(path, tree):
        if not path.endswith("iter_2.pth"):
            return write_file(path, tree)
        from trainwright.io import publish

        def half(file):
            file.write(b"PK" * 1000)
            file.flush()
            os.write(pipe, b"x")
            time.sleep(60)

        return publish(path, half)

    strategies.write_file = write
    train(small_config(folder, checkpoint=ASYNC))


def test_killed_in_the_middle_of_a_background_save_the_one_before_stays_the_latest(tmp_path):
    receiver, sender = os.pipe()
    child = Child(_stuck_in_the_second_file, tmp_path, sender)
    assert os.read(receiver, 1) == b"x"
    child.kill()
    assert child.ended()
    assert child.status == -signal.SIGKILL
    os.close(receiver)
    os.close(sender)
    assert [path.name[:16] for path in tmp_path.glob(f"{TMP_PREFIX}*")] == [".tmp-iter_2.pth-"]
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / "iter_1.pth")
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_1.pth")
    last = train(small_config(tmp_path, checkpoint=ASYNC))
    assert list(tmp_path.glob(f"{TMP_PREFIX}*")) == []
    whole = train(small_config(tmp_path / "whole", checkpoint=ASYNC))
    assert same_training(read_checkpoint(last), read_checkpoint(whole)) == []


# the end of the process -----------------------------------------------------------------------------------------------

_PROGRAM = """
import os, sys, time, torch
from trainwright.checkpoint import manager
from trainwright.checkpoint.async_save import AsyncSaver, Job

def work():
    print("began", flush=True)
    time.sleep(0.3)
    manager.CheckpointManager(sys.argv[1]).save("iter_1.pth", tree, sys.argv[2])
    print("written", flush=True)

saver = AsyncSaver()
tree = saver.snapshot("x", {"meta": {"iter": 1}, "state_dict": {"w": torch.ones(1000)}}, saver.copies())
saver.begin(Job("iter_1.pth", work))
if sys.argv[3] == "error":
    raise SystemExit("the program's own error")
print("end of the program", flush=True)
"""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("end", ["end", "error"])
def test_the_interpreter_waits_for_a_save_in_flight(tmp_path, layout, end):
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path), layout, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1] == "written", done.stderr
    assert done.returncode == (0 if end == "end" else 1)
    assert CheckpointManager(tmp_path).latest() is not None
    assert list(tmp_path.glob(f"{TMP_PREFIX}*")) == []


def test_a_failure_that_nobody_asked_for_is_said_at_the_end(tmp_path):
    program = _PROGRAM.replace("time.sleep(0.3)", "raise OSError(28, 'No space left on device')")
    command = [sys.executable, "-c", program, str(tmp_path), "file", "end"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "the checkpoint iter_1.pth was not written: [Errno 28] No space left on device" in done.stdout + done.stderr


# forked meanwhile -----------------------------------------------------------------------------------------------------


def test_a_process_forked_while_the_thread_writes_is_free_of_it(tmp_path):
    saver = AsyncSaver()
    tree = saver.snapshot("x", {"meta": {"iter": 1}, "w": torch.ones(200_000)}, saver.copies())
    over = threading.Event()

    def work():
        logger = MMLogger.get_current_instance()
        while not over.is_set():  # takes every lock that a save takes, again and again
            write_file(tmp_path / "a.pth", tree)
            logger.debug("written")

    saver.begin(Job("a.pth", work))
    for n in range(20):
        pid = fork()
        if pid == 0:
            try:
                assert saver.path is None
                assert saver.wait()
                MMLogger.get_current_instance().debug("a worker")
                own = AsyncSaver()
                own.begin(Job("b.pth", partial(write_file, tmp_path / f"{n}.pth", {"meta": {"iter": n}})))
                own.settle()
                os._exit(0)
            finally:
                os._exit(1)
        end = time.monotonic() + 20
        while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                over.set()
                saver.settle()
                pytest.fail("a forked process hangs")
            time.sleep(0.005)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
    over.set()
    assert saver.settle()
    assert len(list(tmp_path.glob("*.pth"))) == 21


def _with_workers(folder, is_async):
    state = slow_down()
    config = small_config(folder, checkpoint={"async_save": is_async, "max_keep_ckpts": -1})
    config["train_dataloader"].update(num_workers=2, persistent_workers=False)
    return read_checkpoint(train(config)), state["most"]


def test_workers_that_are_forked_while_it_is_written(tmp_path):
    sync, _ = Child(_with_workers, tmp_path / "sync", False).result()
    parallel, most = Child(_with_workers, tmp_path / "async", True).result()
    drop = {"hooks"}  # names of folders
    assert (
        same_training(
            {k: v for k, v in sync.items() if k not in drop}, {k: v for k, v in parallel.items() if k not in drop}
        )
        == []
    )
    assert most == 1


# two ranks ------------------------------------------------------------------------------------------------------------

RANKS = {"randomness": {"seed": 1, "deterministic": True}}


def _on_a_rank(folder, strategy, layout, is_async, fails=()):
    state = slow_down(fails=fails)
    hook = {"async_save": is_async, "max_keep_ckpts": 2}
    config = small_config(folder, layout, checkpoint=hook, strategy={"type": strategy}, **RANKS)
    samples = SampleRecorder()
    runner = Runner.from_cfg({**config, "custom_hooks": [samples]})
    runner.train()
    own = next(hook for hook in runner.hooks if type(hook).__name__ == "CheckpointHook")
    kept = [os.path.basename(path) for path in own.retention.saved]
    return kept, own.n_failed, state["most"], len(samples.batches)


@pytest.mark.parametrize(
    ("strategy", "layout"), [("DDPStrategy", "file"), ("FSDPStrategy", "file"), ("FSDPStrategy", "folder")]
)
def test_two_ranks_write_what_they_would_have_written_at_once(tmp_path, strategy, layout):
    for name in ("sync", "async"):
        results = run_ranks(2, _on_a_rank, tmp_path / name, strategy, layout, name == "async")
        assert results[0][0] == results[1][0]
        assert len(results[0][0]) == 2
        assert results[0][2] <= 1
    for n in (7, 8):
        name = f"iter_{n}.pth" if layout == "file" else f"iter_{n}"
        trees = [read_checkpoint(str(tmp_path / folder / name)) for folder in ("sync", "async")]
        assert same_training(*trees) == []


def test_two_ranks_count_a_failure_alike_and_go_on(tmp_path):
    results = run_ranks(2, _on_a_rank, tmp_path, "DDPStrategy", "file", True, ("iter_4.pth", "iter_5.pth"))
    assert results[0] == (["iter_7.pth", "iter_8.pth"], 0, 1, 8)
    assert results[1][:2] == results[0][:2]
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["iter_7.pth", "iter_8.pth"]


def _too_many(folder):
    fails = [f"iter_{n}.pth" for n in range(3, 9)]
    try:
        _on_a_rank(folder, "DDPStrategy", "file", True, fails)
    except SaveError as error:
        return str(error)
    return "no error"


def test_two_ranks_end_together_after_too_many_failures(tmp_path):
    for text in run_ranks(2, _too_many, tmp_path):
        assert text.startswith("3 saves in a row failed")
        assert "iter_2.pth" in text
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / "iter_2.pth")


def _fails_alone(folder, rank_to_fail):
    slow_down(0.3)

    class Fail(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 1 and runner.rank == rank_to_fail:
                raise ValueError("the error of one rank")

    config = small_config(folder, checkpoint=ASYNC, strategy={"type": "DDPStrategy"}, custom_hooks=[Fail()])
    Runner.from_cfg(config).train()


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_one_rank_ends_both_and_what_is_being_saved_is_published(tmp_path, rank):
    with pytest.raises(AssertionError, match=f"rank {rank} failed(.|\n)*the error of one rank"):
        run_ranks(2, _fails_alone, tmp_path, rank, timeout_s=40)
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / "iter_1.pth")
    assert list(tmp_path.glob(f"{TMP_PREFIX}*")) == []
