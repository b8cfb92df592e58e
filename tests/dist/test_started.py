"""SLURM and MPI: what they tell a process, what it cannot be told without, and two processes that meet by it."""

from __future__ import annotations

import multiprocessing
import os
import re
import socket
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch

from trainwright import dist
from trainwright.base.errors import ConfigError
from trainwright.dist import launch, started

SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1", "SLURM_NODELIST": "gpu7,gpu9"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
HYDRA = {"PMI_RANK": "0", "PMI_SIZE": "4", "MPI_LOCALRANKID": "0", "MPI_LOCALNRANKS": "2"}


@pytest.fixture(autouse=True)
def _started_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    told = ("SLURM_", "OMPI_", "PMI_", "MV2_", "MPI_LOCAL")
    for name in list(os.environ):
        if name in started.TORCHRUN or name.startswith(told):
            monkeypatch.delenv(name)


def give(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("values", "launcher"), [({}, "none"), (SLURM, "slurm"), (OPEN_MPI, "mpi"), (HYDRA, "mpi")])
def test_the_launcher_is_found(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], launcher: str) -> None:
    give(monkeypatch, values)
    assert dist.infer_launcher() == launcher
    # In the shell of a SLURM job the variables are there as well, so that only torchrun is found without being named.
    assert (dist.launcher_or_found(None), dist.launcher_or_found("slurm")) == ("none", "slurm")


def test_torchrun_inside_of_slurm_is_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, {**SLURM, **dict.fromkeys(started.TORCHRUN, "1")})
    assert dist.infer_launcher() == "pytorch"
    assert (dist.launcher_or_found(None), dist.launcher_or_found("none")) == ("pytorch", "none")


@pytest.mark.parametrize(
    ("values", "launcher", "expected"),
    [
        (SLURM, "slurm", ("3", "4", "1", "gpu7", "29500")),
        ({**SLURM, "SLURM_LOCALID": ""}, "slurm", ("3", "4", "0", "gpu7", "29500")),
        ({**SLURM, "MASTER_ADDR": "head", "MASTER_PORT": "3"}, "slurm", ("3", "4", "1", "head", "3")),
        (OPEN_MPI, "mpi", ("1", "2", "1", "127.0.0.1", "29500")),
        ({**HYDRA, "MASTER_ADDR": "head"}, "mpi", ("0", "4", "0", "head", "29500")),
    ],
)
def test_variables_of_torchrun(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], launcher: str, expected: tuple[str, ...]
) -> None:
    give(monkeypatch, values)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert started.variables_of(launcher) == dict(zip(names, expected, strict=True))
    assert started.variables_of(launcher, 4000)["MASTER_PORT"] == "4000"


@pytest.mark.parametrize(
    ("values", "launcher", "text"),
    [
        ({}, "slurm", "launcher='slurm' needs the environment that srun sets, and SLURM_PROCID, SLURM_NTASKS is"),
        (
            {**SLURM, "SLURM_NODELIST": ""},
            "slurm",
            "SLURM_NODELIST, which is not set: start with `srun`, or set MASTER",
        ),
        ({}, "mpi", "launcher='mpi' needs the environment that mpirun sets, and OMPI_COMM_WORLD_RANK, OMPI_COMM"),
        (
            HYDRA,
            "mpi",
            "MPI does not tell it: set MASTER_ADDR for all of them, as in `mpirun -x MASTER_ADDR=node1 ...`",
        ),
    ],
)
def test_what_is_not_told(monkeypatch: pytest.MonkeyPatch, values: dict[str, str], launcher: str, text: str) -> None:
    give(monkeypatch, values)
    with pytest.raises(ConfigError, match=re.escape(text)):
        dist.init_dist(launcher)


def test_a_list_in_brackets_is_scontrols_to_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give(monkeypatch, {**SLURM, "SLURM_NODELIST": "gpu[07-09]", "PATH": os.fspath(tmp_path)})
    with pytest.raises(
        ConfigError, match=r"asks `scontrol` what machines 'gpu\[07-09\]' are, and there is none in PATH"
    ):
        started.variables_of("slurm")
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\n[ "$*" = "show hostnames gpu[07-09]" ] && echo gpu07 && echo gpu08\n')
    program.chmod(0o755)
    assert started.variables_of("slurm")["MASTER_ADDR"] == "gpu07"
    program.write_text("#!/bin/sh\necho no such nodes >&2\nexit 1\n")
    with pytest.raises(ConfigError, match=r"exit status 1 \(no such nodes\): set MASTER_ADDR to the machine of rank 0"):
        started.variables_of("slurm")


def test_a_process_that_is_shown_one_device_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    launch._choose_device(3, "slurm")
    assert chosen == [0]
    with pytest.raises(ConfigError, match="LOCAL_RANK is 3, and this machine has 1 CUDA device"):
        launch._choose_device(3, "pytorch")


def test_variables_of_a_group_that_nobody_joined_are_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, {**SLURM, "SLURM_PROCID": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "x"})
    before = dict(os.environ)
    with pytest.raises(ValueError, match="invalid literal"):
        dist.init_dist("slurm")
    assert dict(os.environ) == before


def meets(sender: Connection, values: dict[str, str], launcher: str, port: int) -> None:
    torch.set_num_threads(1)
    try:
        os.environ.update(values)
        dist.init_dist(launcher, timeout=30, port=port)
        data = torch.tensor([float(dist.get_rank() + 1)])
        dist.all_reduce(data)
        found = (*dist.get_dist_info(), data.item(), os.environ["LOCAL_RANK"], dist.infer_launcher())
        dist.barrier()
        dist.cleanup()
        sender.send((*found, dist.is_distributed(), dist.infer_launcher()))
    except BaseException as error:  # noqa: BLE001 - told to the test
        sender.send(repr(error))
    finally:
        sender.close()
        os._exit(0)


@pytest.mark.parametrize("launcher", ["slurm", "mpi"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on: forking a process with threads
def test_two_processes_meet(launcher: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    nodes = {**SLURM, "SLURM_NTASKS": "2", "SLURM_NODELIST": "127.0.0.1"}
    rank_of = {
        "slurm": ("SLURM_PROCID", "SLURM_LOCALID"),
        "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    }
    context = multiprocessing.get_context("fork")
    processes: list[Any] = []
    pipes = []
    for rank in "01":
        values = {**(nodes if launcher == "slurm" else OPEN_MPI), **dict.fromkeys(rank_of[launcher], rank)}
        receiver, sender = context.Pipe(duplex=False)
        processes.append(context.Process(target=meets, args=(sender, values, launcher, port)))
        processes[-1].start()
        sender.close()
        pipes.append(receiver)
    found = [pipe.recv() for pipe in pipes]
    for process, pipe in zip(processes, pipes, strict=True):
        process.join()
        process.close()
        pipe.close()
    assert found == [(rank, 2, 3.0, str(rank), "pytorch", False, launcher) for rank in (0, 1)]
