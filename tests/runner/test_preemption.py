"""Signals that take a machine away: what stops when, what is saved and said, what is left for a new start."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
import torch
from preempted_runs import LONG, Shot, log_of, make, marker, signals_as_before, stopped  # noqa: F401 - a fixture among them

from trainwright.base.errors import Interrupted
from trainwright.checkpoint import read_file
from trainwright.engine import Event, Hook
from trainwright.runner.preemption import program
from trainwright.testing.recorder import EventRecorder
from trainwright.testing.toys import differences, toy_loader


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_saves_after_the_iteration_and_asks_for_a_new_start(tmp_path, name):
    runner = make(tmp_path, Shot("before_train_iter", 3, signal.Signals[name]))
    runner.resume_command = "train --resume"
    error = stopped(runner)
    path = str(tmp_path / "iter_3.pth")
    assert isinstance(error, Interrupted)
    assert (error.exit_code, error.checkpoint) == (75, path)
    assert str(error) == f"training was stopped ({name}) after iteration 3 and saved to {path}."
    assert read_file(path)["meta"]["iter"] == 3
    left = marker(tmp_path)
    assert left.pop("time")
    assert left == {
        "reason": name,
        "iter": 3,
        "epoch": 0,
        "checkpoint": path,
        "command": "train --resume",
        "exit_code": 75,
        "slurm_job": None,
    }
    assert f"{name}: waiting for " in log_of(runner)
    assert "to save and to end with exit code 75\n" in log_of(runner)


def test_a_run_in_parts_is_the_run_in_one_piece_and_takes_the_marker_away(tmp_path):
    whole = make(tmp_path / "whole")
    whole.train()
    parts = tmp_path / "parts"
    for nth in (3, 2):
        stopped(make(parts, Shot("before_train_iter", nth), resume=True))
        assert (parts / ".requeue").exists()
    seen = []

    class Look(Hook):
        def before_train(self, runner):
            seen.append((parts / ".requeue").exists())

    last = make(parts, Look(), resume=True)
    last.train()
    assert seen == [False]
    assert not (parts / ".requeue").exists()
    assert not differences(last.strategy.state_tree(), whole.strategy.state_tree())


def test_the_command_that_ran_stands_in_the_marker_of_a_script(tmp_path):
    stopped(make(tmp_path, Shot("before_train_iter", 1)))
    assert marker(tmp_path)["command"] == shlex.join(sys.orig_argv)


def test_signals_and_exit_code_are_settings(tmp_path):
    error = stopped(
        make(
            tmp_path, Shot("before_train_iter", 2, signal.SIGUSR2), preemption={"signals": ["SIGUSR2"], "exit_code": 3}
        )
    )
    assert (error.exit_code, marker(tmp_path)["exit_code"]) == (3, 3)
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    try:
        make(tmp_path / "none", Shot("before_train_iter", 2), preemption={"signals": []}).train()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


def test_it_waits_for_the_end_of_an_accumulation_window(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4}
    error = stopped(make(tmp_path, Shot("before_train_iter", 1), optim_wrapper=wrapper))
    assert os.path.basename(error.checkpoint) == "iter_4.pth"


# -- validation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("preemption", "n_signals", "ends"),
    [({"deadline_s": 100}, 1, True), ({"deadline_s": 100}, 2, False), ({}, 1, False), ({"deadline_s": 2}, 1, False)],
    ids=["time", "second signal", "no deadline", "too little time"],
)
def test_a_validation_ends_where_there_is_time_for_it(tmp_path, preemption, n_signals, ends):
    class Slow(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            if preemption.get("deadline_s") == 2 and batch_idx < 3:
                time.sleep(0.3)

    recorder = EventRecorder()
    shot = Shot("after_val_iter", 2, *[signal.SIGTERM] * n_signals)
    error = stopped(make(tmp_path, Slow(), shot, recorder, preemption=preemption))
    assert recorder.count(Event.AFTER_VAL_EPOCH) == ends
    assert recorder.count(Event.AFTER_VAL_ITER) == (8 if ends else 2)
    assert read_file(error.checkpoint)["meta"]["val_due"] is not ends
    recorder = EventRecorder()
    make(tmp_path, recorder, resume=True).train()
    events = recorder.events
    first_val, first_step = events.index(Event.BEFORE_VAL), events.index(Event.BEFORE_TRAIN_ITER)
    assert (first_val < first_step) is not ends


# -- the end of the process ----------------------------------------------------------------------------------------
def code_of(work, err=None):
    """The exit code of a process that is forked for ``work``, and how long it took."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            if err is not None:
                os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT), 2)
            with program():
                try:
                    work()
                    code = 0
                except Interrupted as stop:
                    code = stop.exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.monotonic() - began


def test_a_third_signal_ends_the_process_at_once(tmp_path):
    shot = Shot("before_train_iter", 6, *[signal.SIGTERM] * 3)
    shot.numbers = (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM)
    code, _ = code_of(lambda: make(tmp_path, shot).train(), tmp_path / "err")
    assert code == 75
    assert (
        "SIGTERM is the third signal, while waiting for the end of iteration 6: the process ends here. A resume goes on"
        in (tmp_path / "err").read_text()
    )
    assert not (tmp_path / "iter_6.pth").exists()
    assert marker(tmp_path)["checkpoint"] is None
    last = make(tmp_path, resume=True)
    last.train()
    assert last.iter == 8


class Hang(Hook):
    def __init__(self, event, nth):
        self.event, self.left = event, nth

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.hang("after_train_iter")

    def before_save_checkpoint(self, runner, checkpoint):
        self.hang("before_save_checkpoint")

    def hang(self, event):
        self.left -= event == self.event
        if self.left == 0:
            threading.Event().wait(20)


@pytest.mark.parametrize(
    ("hang", "awaited"),
    [(Hang("after_train_iter", 6), "the end of iteration 6"), (Hang("before_save_checkpoint", 2), "the checkpoint")],
    ids=["iteration", "save"],
)
def test_a_deadline_ends_the_process_and_says_what_was_waited_for(tmp_path, hang, awaited):
    def work():
        make(tmp_path, Shot("before_train_iter", 6), hang, preemption={"deadline_s": 1.2}).train()

    code, seconds = code_of(work, tmp_path / "err")
    said = (tmp_path / "err").read_text()
    assert (code, seconds < 10) == (75, True)
    assert f"the deadline has passed, while waiting for {awaited}: the process ends here." in said
    assert f"A resume goes on from the newest checkpoint in {tmp_path}\n" in said
    logged = next(tmp_path.glob("*/*.log")).read_text()
    assert f"SIGTERM: still waiting for {awaited}, to save and to end with exit code 75; the process ends in " in logged
    assert sorted(file.name for file in tmp_path.glob("*.pth")) == ["epoch_1.pth"]
    assert marker(tmp_path)["reason"] == "SIGTERM"
    assert read_file(str(tmp_path / "epoch_1.pth"))["meta"]["iter"] == 4


def test_a_program_around_a_training_ends_with_its_code_whenever_signals_come(tmp_path):
    def early():
        os.kill(os.getpid(), signal.SIGTERM)
        make(tmp_path).train()

    def late():
        make(tmp_path).train()
        os.kill(os.getpid(), signal.SIGTERM)

    assert code_of(early)[0] == 75
    assert not list(tmp_path.iterdir())
    assert code_of(late)[0] == 0


# -- other moments -----------------------------------------------------------------------------------------------
def test_before_the_loop_nothing_is_saved(tmp_path):
    error = stopped(make(tmp_path, Shot("before_run")))
    assert str(error) == "the run was stopped (SIGTERM) before training began; nothing was saved."
    assert (error.exit_code, error.checkpoint) == (75, None)
    assert marker(tmp_path)["checkpoint"] is None
    assert not list(tmp_path.glob("*.pth"))


def test_a_stop_of_the_bring_up_that_somebody_swallows_holds_all_the_same(tmp_path):
    class Swallow(Hook):
        def before_run(self, runner):
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGTERM)

    recorder = EventRecorder()
    error = stopped(make(tmp_path, Swallow(), recorder))
    assert "before training began" in str(error)
    assert recorder.count(Event.BEFORE_TRAIN) == 0


def test_signals_during_the_last_save_change_nothing(tmp_path):
    shots = Shot("before_train_iter", 2), Shot("before_save_checkpoint", 1)
    error = stopped(make(tmp_path, *shots))
    assert read_file(error.checkpoint)["meta"]["iter"] == 2


def test_a_signal_after_the_last_iteration_leaves_a_complete_run_complete(tmp_path):
    runner = make(tmp_path, Shot("after_run"))
    runner.train()
    assert runner.iter == 8
    assert not (tmp_path / ".requeue").exists()
    runner.train()  # a further one is not stopped by it


def test_in_another_thread_signals_are_left_alone(tmp_path):
    runner = make(tmp_path)
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert runner.iter == 8


def test_a_wish_outlives_a_return_to_an_earlier_iteration(tmp_path):
    class Return(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter == 2:
                runner.ctx.stop.clear()
                runner.preemption.ask_again()

    assert os.path.basename(stopped(make(tmp_path, Return(), Shot("before_train_iter", 3))).checkpoint) == "iter_3.pth"


def test_a_fast_dev_run_keeps_nothing(tmp_path):
    runner = make(tmp_path / "run", Shot("before_train_iter", 1), fast_dev_run=3)
    with pytest.raises(Interrupted, match="it keeps nothing"):
        runner.train()
    assert not (tmp_path / "run").exists()


def test_a_forked_process_has_no_part_in_it(tmp_path):
    found = []

    class Fork(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGUSR1)
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(3)
            found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    make(tmp_path, Fork()).train()
    assert set(found) == {-signal.SIGTERM}


@pytest.mark.parametrize("keyed", [True, False])
def test_workers_outlive_a_signal_to_all_processes(tmp_path, keyed):
    class All(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 1:
                workers = [process.pid for process in torch.multiprocessing.active_children()]
                assert len(workers) == 2
                for number in (signal.SIGTERM, signal.SIGUSR1):
                    for pid in workers:  # by another process, as a scheduler does
                        subprocess.run(["/bin/kill", f"-{int(number)}", str(pid)], check=True)
                time.sleep(0.2)
                os.kill(os.getpid(), signal.SIGTERM)

    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 4}
    loader = toy_loader(32, 2, num_workers=2)
    runner = make(
        tmp_path,
        All(),
        train_dataloader=loader,
        optim_wrapper=wrapper,
        randomness={"seed": 1, "keyed": keyed},
    )
    assert os.path.basename(stopped(runner).checkpoint) == "iter_4.pth"
    assert not torch.multiprocessing.active_children()
