"""The options that start processes: what is refused, and what a rank is told."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from trainwright.base.errors import ConfigError, RankError
from trainwright.cli import launching
from trainwright.cli.launching import Launching, n_processes, starts_ranks, without
from trainwright.cli.settings import load
from trainwright.cli.train import TrainOptions, _resume_command
from trainwright.dist import addresses
from trainwright.dist import agent as agents

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*TORCHRUN, "TORCHELASTIC_ERROR_FILE", "TRAINWRIGHT_LAUNCH", "TRAINWRIGHT_RESUMES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[agents.Launch]:
    """What would be started."""
    found: list[agents.Launch] = []

    def launch(plan: agents.Launch) -> int:
        found.append(plan)
        return 7

    monkeypatch.setattr(agents, "launch", launch)
    return found


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--nproc 2", "--nproc 2 is for a launcher that starts processes: add --launcher pytorch, or ray."),
        ("--launcher slurm --nproc 2", "--nproc 2 has no meaning with --launcher slurm, whose own program starts"),
        ("--launcher pytorch", "--launcher pytorch starts the processes: say how many, as in --nproc 2"),
        ("--launcher pytorch --max-restarts 2", "starts the processes: say how many"),
        ("--launcher pytorch --nproc two", "--nproc must be a number above 0, 'auto' or 'gpu', but got 'two'."),
        ("--launcher pytorch --nproc 0", "--nproc must be a number above 0, 'auto' or 'gpu', but got '0'."),
        ("--launcher pytorch --nproc gpu", "--nproc gpu: this machine has no CUDA device."),
        (
            "--launcher pytorch --nproc 2 --nnodes 2",
            "--nnodes 2: the nodes have to meet somewhere: add --rdzv-endpoint",
        ),
        ("--launcher pytorch --nproc 2 --nnodes 3:2", "--nnodes must be a number above 0, or fewest:most as in 2:4"),
        (
            "--launcher pytorch --nproc 2 --rdzv-endpoint a:1",
            "--rdzv-endpoint is where several nodes meet: add --nnodes",
        ),
        ("--launcher pytorch --nproc 2 --node-rank 1", "--node-rank must be from 0 to 0 with --nnodes 1: 1."),
        ("--launcher pytorch --nproc 2 --max-restarts -1", "--max-restarts must be at least 0, but got -1."),
        ("--launcher pytorhc --nproc 2", "has no meaning with --launcher pytorhc"),
        ("--launcher ray --nproc 2 --nnodes 2", "--nnodes is for --launcher pytorch: with ray the cluster says where"),
        ("--launcher ray --nproc auto", "--nproc must be a number above 0 with --launcher ray, but got 'auto'."),
        ("--launcher pytorch --nproc 2 --cfg-options train_cfg.max_epoch=3", "Did you mean 'max_epochs'"),
    ],
)
def test_refused_before_anything_is_started(command: Any, plans: list[Any], words: str, text: str) -> None:
    code, _, err = command("train", "toy.py", "--work-dir", "run", *words.split())
    assert code == 1
    assert text in err
    assert not plans


def test_more_processes_than_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(
        ConfigError, match=r"--nproc 3: this machine has 2 CUDA device\(s\), and each process needs one"
    ):
        n_processes("3")
    assert (n_processes("gpu"), n_processes("auto"), n_processes("1")) == (2, 2, 1)


def test_one_process_a_core_without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert n_processes("auto") == os.cpu_count()


def test_under_torchrun_nothing_is_started_and_no_option_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert not starts_ranks("pytorch", Launching())
    with pytest.raises(
        ConfigError, match="started by torchrun already, as rank 1 of 2, and --nproc 2 would start more"
    ):
        starts_ranks("pytorch", Launching("2"))
    with pytest.raises(ConfigError, match="--launcher ray would start more in each"):
        starts_ranks("ray", Launching())


def test_none_is_none_under_torchrun_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "launcher" not in load("toy.py", None, "none", [])
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert load("toy.py", None, "none", []).launcher == "none"


def test_ranks_run_the_command_without_the_options_of_the_launch(command: Any, plans: list[agents.Launch]) -> None:
    words = [
        "train",
        "toy.py",
        "--work-dir",
        "run",
        "--launcher",
        "pytorch",
        "--nproc=2",
        "--amp",
        "--max-restarts",
        "3",
    ]
    code, _, err = command(*words, "--cfg-options", "env_cfg.preemption.exit_code=99", "model.dropout=0.1")
    assert code == 7, err
    (plan,) = plans
    rest = "--cfg-options env_cfg.preemption.exit_code=99 model.dropout=0.1"
    assert " ".join(plan.command[1:]) == (f"-m trainwright train toy.py --work-dir run --launcher pytorch --amp {rest}")
    assert (plan.nproc, plan.nodes, plan.max_restarts, plan.requeue_code) == (2, (1, 1), 3, 99)
    assert plan.signals == ("SIGTERM", "SIGUSR1")


def test_a_script_is_run_as_it_is(tmp_path: Path) -> None:
    script = tmp_path / "trainwright"
    script.write_text("#!/usr/bin/python3\n")
    assert launching._command([os.fspath(script), "train"])[1:] == [os.fspath(script), "train"]
    script.write_text("#!/bin/sh\n")
    assert launching._command([os.fspath(script), "train"])[1:] == ["-m", "trainwright", "train"]
    assert without(["--a", "1", "--b=2", "c", "--d"], ["a", "b"]) == ["c", "--d"]


def test_a_restart_goes_on_from_what_there_is(command: Any, project: Path, plans: list[agents.Launch]) -> None:
    launched = ["--launcher", "pytorch", "--nproc", "2", "--max-restarts", "1"]
    assert command("train", "toy.py", "--work-dir", "run", *launched)[0] == 7
    before = plans[0].before_start
    assert before(1) == {"TRAINWRIGHT_LAUNCH": "--nproc 2 --max-restarts 1"}
    assert "TRAINWRIGHT_RESUMES" not in before(2)  # nothing was saved: as the first start
    assert command("train", "toy.py", "--work-dir", "run")[0] == 0
    assert before(2)["TRAINWRIGHT_RESUMES"] == "1"

    with pytest.raises(ConfigError, match="run has checkpoints of an earlier training, such as .*epoch_2.pth") as error:
        before(1)
    assert "Add --resume to go on with that training, or give another --work-dir." in str(error.value)
    for resume in (["--resume"], ["--resume", "run/epoch_2.pth"]):
        assert command("train", "toy.py", "--work-dir", "run", *resume, *launched)[0] == 7
        plans[-1].before_start(1)
    shutil.copy("run/epoch_1.pth", "other.pth")
    assert command("train", "toy.py", "--work-dir", "run", "--resume", "other.pth", *launched)[0] == 7
    with pytest.raises(ConfigError, match="checkpoints of an earlier training"):
        plans[-1].before_start(1)


def test_a_rank_that_is_started_again_resumes_and_names_the_whole_command(
    command: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("train", "toy.py", "--work-dir", "run")[0] == 0
    monkeypatch.setenv("TRAINWRIGHT_RESUMES", "1")
    code, out, _ = command("train", "toy.py", "--work-dir", "run", "--cfg-options", "train_cfg.max_epochs=3")
    assert code == 0
    assert "Trained 3 epochs, 24 iterations." in out
    monkeypatch.setenv("TRAINWRIGHT_LAUNCH", "--nproc 2 --max-restarts 1")
    options = TrainOptions("c.py", None, None, False, False, "pytorch", [])
    words = _resume_command(options, "run")
    assert words == "trainwright train c.py --work-dir run --resume --launcher pytorch --nproc 2 --max-restarts 1"
    monkeypatch.delenv("TRAINWRIGHT_LAUNCH")  # started by torchrun itself, on one node
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert _resume_command(options, "run").endswith("--resume --launcher pytorch --nproc 4")


def test_a_rank_says_one_line_and_tells_its_starter_the_rest(
    command: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainwright.dist.rank_failure import told_by

    file = project / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", os.fspath(file))
    monkeypatch.setenv("TRAINWRIGHT_LAUNCH", "--nproc 2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(launching, "follow_the_launcher", lambda: None)
    monkeypatch.setattr("trainwright.cli.app.follow_the_launcher", lambda: None)
    code, _, err = command("train", "none.py")
    assert code == 1
    assert err.startswith("rank 1 fails: ConfigNotFoundError: ")
    told = told_by(os.fspath(file))
    assert told["text"].startswith("error: ")
    assert told["is_mistake"]
    assert not told["is_consequence"]
    assert told_by(os.fspath(project / "nothing.json")) == {}


def test_test_starts_processes_too(command: Any, project: Path, plans: list[agents.Launch]) -> None:
    assert command("train", "toy.py", "--work-dir", "run")[0] == 0
    code, _, err = command("test", "toy.py", "run/epoch_2.pth", "--launcher", "pytorch", "--nproc", "2")
    assert code == 7, err
    assert plans[0].command[1:4] == ("-m", "trainwright", "test")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [("a:1", ("a", 1)), ("a", ("a", 29400)), ("[::1]:7", ("::1", 7)), ("[::1]", ("::1", 29400))],
)
def test_endpoints(text: str, endpoint: tuple[str, int]) -> None:
    assert addresses.parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", [":1", "a:0", "a:b", "a:70000", "::1", "fd00::1:7"])
def test_wrong_endpoints(text: str) -> None:
    with pytest.raises(ConfigError, match="is no host:port, as in node0:29400"):
        addresses.parse_endpoint(text)


def test_which_address_is_this_machine() -> None:
    import socket

    assert addresses.is_local("127.0.0.1", 0)
    assert not addresses.is_local("192.0.2.77", 29400)  # kept for documentation: nobody has it
    assert addresses.address_towards("127.0.0.1") is None
    assert addresses.interface_of("127.0.0.1") == "lo"
    assert addresses.interface_of("192.0.2.77") is None
    assert addresses.interface_of(None) is None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not addresses.is_local("127.0.0.1", taken.getsockname()[1])


def test_a_consequence_is_told_as_one() -> None:
    from trainwright.dist.rank_failure import facts_of

    assert facts_of(RankError("rank 0 failed"))["is_consequence"]
    assert facts_of(ValueError("boom"))["text"].endswith("ValueError: boom")


def test_the_command_is_named_as_it_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRAINWRIGHT_PROGRAM", raising=False)
    program = tmp_path / "bin" / "trainwright"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(program)])
    monkeypatch.setenv("PATH", str(program.parent))
    assert launching.command_name() == "trainwright"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert launching.command_name() == os.path.join("bin", "trainwright")
