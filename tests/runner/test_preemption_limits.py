"""The ends of jobs and times, SLURM and torchrun, and the settings of preemption."""

import os
import stat
import time

import pytest
from preempted_runs import LONG, Shot, log_of, make, marker, signals_as_before, stopped  # noqa: F401 - a fixture among them

from trainwright.base.errors import ConfigError
from trainwright.engine import Hook
from trainwright.runner.preemption import Preemption
from trainwright.runner.preemption_cfg import PreemptionCfg


# -- time limits ---------------------------------------------------------------------------------------------------
def test_max_time_can_ask_for_a_new_start(tmp_path):
    hook = {"type": "MaxTimeHook", "max_time": 1e-6, "across_resumes": False, "requeue": True}
    error = stopped(make(tmp_path, custom_hooks=[hook]))
    assert error.exit_code == 75
    assert marker(tmp_path)["reason"] == "MaxTimeHook: max_time of 1e-06 s is over"
    assert marker(tmp_path)["checkpoint"] == error.checkpoint
    hook = {**hook, "requeue": False}
    make(tmp_path, custom_hooks=[hook], resume=True).train()
    assert not (tmp_path / ".requeue").exists()


@pytest.fixture
def scontrol(tmp_path_factory, monkeypatch):
    """A command of that name on PATH; what it was called with."""
    folder = tmp_path_factory.mktemp("bin")

    def install(answer="", code=0):
        script = folder / "scontrol"
        script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\necho "{answer}"\nexit {code}\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        return lambda: (folder / "calls").read_text().splitlines()

    return install


class Pace(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.05)


@pytest.mark.parametrize("asks", [False, True], ids=["variable", "scontrol"])
def test_it_ends_before_its_slurm_job_does(tmp_path, monkeypatch, scontrol, asks):
    ends = time.time() + 62  # told in whole seconds: one to two are left to train in, which a busy machine may need
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    if asks:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(ends))
        calls = scontrol(f"JobId=17 JobName=x StartTime=2026-01-01T00:00:00 EndTime={stamp} Deadline=N/A")
    else:
        monkeypatch.setenv("SLURM_JOB_END_TIME", f"{int(ends)}")
    runner = make(tmp_path, Pace(), preemption={"end_margin_s": 60}, train_cfg=LONG, log_level="INFO")
    error = stopped(runner)
    assert "training was stopped (the SLURM job is about to end) after iteration" in str(error)
    assert 1 <= runner.iter < runner.max_iters
    assert marker(tmp_path)["slurm_job"] == "17"
    assert "s: training stops and is saved 60 s before (env_cfg preemption end_margin_s)" in log_of(runner)
    if asks:
        assert calls() == ["show job -o 17"]


@pytest.mark.parametrize("answer", ["EndTime=Unknown", "slurm_load_jobs error", ""])
def test_a_job_without_an_end_is_not_ended(tmp_path, monkeypatch, scontrol, answer):
    scontrol(answer, code=0 if "End" in answer else 1)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    make(tmp_path).train()


def test_slurm_is_asked_to_start_again(tmp_path, monkeypatch, scontrol):
    calls = scontrol()
    for name, value in {
        "JOB_ID": "20",
        "JOB_END_TIME": "9999999999",
        "ARRAY_JOB_ID": "18",
        "ARRAY_TASK_ID": "2",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    runner = make(tmp_path, Shot("before_train_iter", 2), preemption={"requeue": True}, log_level="INFO")
    stopped(runner)
    assert calls() == ["requeue 18_2"]
    assert "SLURM was asked to start job 18_2 again" in log_of(runner)


def test_what_keeps_slurm_from_starting_again_is_said(tmp_path, monkeypatch, scontrol):
    runner = make(tmp_path / "a", Shot("before_train_iter", 2), preemption={"requeue": True})
    stopped(runner)
    assert "preemption requeue=True has no effect: this is no SLURM job" in log_of(runner)
    scontrol("Requested operation is presently disabled", code=1)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_END_TIME", "9999999999")
    runner = make(tmp_path / "b", Shot("before_train_iter", 2), preemption={"requeue": True})
    stopped(runner)
    assert "scontrol requeue 17 failed: Requested operation is presently disabled" in log_of(runner)
    monkeypatch.setenv("PATH", str(tmp_path))
    runner = make(tmp_path / "c", Shot("before_train_iter", 2), preemption={"requeue": True})
    stopped(runner)
    assert "scontrol requeue 17 failed: [Errno 2] No such file or directory: 'scontrol'" in log_of(runner)


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_torchrun_that_would_die_of_a_signal_is_named(tmp_path, monkeypatch, level):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT")
    if level == "WARNING":
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        monkeypatch.setenv("SLURM_JOB_END_TIME", "9999999999")
    runner = make(tmp_path / "a", log_level="INFO")
    runner.train()
    text = "torchrun does not pass SIGUSR1 on, and dies of it: start it with --signals-to-handle SIGTERM,SIGINT,SIGUSR1"
    assert f"{level} - {text}" in log_of(runner)
    monkeypatch.setenv("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGUSR1")
    runner = make(tmp_path / "b", log_level="INFO")
    runner.train()
    assert "torchrun does not" not in log_of(runner)


# -- settings ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"deadline": 3}, "preemption has no setting 'deadline'; it takes signals, .*Did you mean 'deadline_s'"),
        ({"signals": ["SIGKILL"]}, "'SIGKILL' is no signal to stop at"),
        ({"signals": ["SIGTRM"]}, "'SIGTRM' is no signal to stop at. Did you mean 'SIGTERM'"),
        ({"deadline_s": 0}, "deadline_s must be above 0, or None for no deadline: 0"),
        ({"exit_code": 300}, "exit_code must be from 1 to 255, but got 300"),
        ({"end_margin_s": -1}, "end_margin_s must be at least 0, but got -1"),
        ({"exit_code": "x"}, r"exit_code"),
        (["SIGTERM"], r"env_cfg.preemption: must be a dict, but got \['SIGTERM'\]"),
    ],
)
def test_wrong_settings_are_named(tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        make(tmp_path, preemption=settings)


def test_the_settings_go_past_what_sets_the_process_up(tmp_path):
    runner = make(tmp_path, preemption={"deadline_s": 5})
    runner.setup_env({"resource_limit": 4096, "preemption": {"deadline_s": 5}})
    runner.train()
    assert isinstance(runner.preemption, Preemption)
    assert runner.preemption.cfg == PreemptionCfg(deadline_s=5)
