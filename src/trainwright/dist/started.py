"""What those who start processes tell each of them: SLURM's srun and the launchers of MPI, in the words of torchrun."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

import torch

from trainwright.base.errors import ConfigError, ConfigKeyError

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
DEFAULT_PORT = "29500"
_HERE = "127.0.0.1"
# Rank, size, rank on the machine, size on the machine: Open MPI, MVAPICH2, and those with Hydra (MPICH, Intel MPI).
_MPI = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
_SLURM = ("SLURM_PROCID", "SLURM_NTASKS")
_NODES = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")


def infer_launcher() -> str:
    """How this process was started, as its environment tells: 'pytorch' (by torchrun), 'slurm', 'mpi' or 'none'."""
    if all(name in os.environ for name in TORCHRUN):
        return "pytorch"
    if all(name in os.environ for name in _SLURM):
        return "slurm"
    return "mpi" if any(kind[0] in os.environ for kind in _MPI) else "none"


def launcher_or_found(launcher: str | None) -> str:
    """The launcher that is meant: torchrun is found by its environment where none is named, and no other is."""
    if launcher is not None:
        return launcher
    return "pytorch" if infer_launcher() == "pytorch" else "none"


def variables_of(launcher: str, port: int | None = None) -> dict[str, str]:
    """The variables of torchrun for a process that `launcher` started; ConfigError for those that cannot be told."""
    found = _SOURCES[launcher](os.environ)
    if port is not None:
        found["MASTER_PORT"] = str(port)
    elif launcher != "pytorch":
        found["MASTER_PORT"] = os.environ.get("MASTER_PORT", DEFAULT_PORT)
    return found


def _from_torchrun(env: Mapping[str, str]) -> dict[str, str]:
    return _required(env, TORCHRUN, "pytorch", "torchrun", "`torchrun --nproc-per-node 2 ...`")


def _from_slurm(env: Mapping[str, str]) -> dict[str, str]:
    found = _required(env, _SLURM, "slurm", "srun", "`srun --ntasks 2 ...`")
    rank, size = found["SLURM_PROCID"], found["SLURM_NTASKS"]
    n_devices = torch.cuda.device_count()
    local_rank = env.get("SLURM_LOCALID") or str(int(rank) % max(n_devices, 1))
    address = env.get("MASTER_ADDR") or _first_node(env)
    return {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "MASTER_ADDR": address}


def _first_node(env: Mapping[str, str]) -> str:
    """The machine of rank 0, of which SLURM says the list in short, as in ``gpu[03-05,17]``."""
    nodes = next((env[name] for name in _NODES if env.get(name)), "")
    if not nodes:
        raise ConfigError(
            "launcher='slurm' finds the machine of rank 0 in SLURM_NODELIST, which is not set: start with `srun`, or "
            "set MASTER_ADDR to that machine."
        )
    if "[" not in nodes:
        return nodes.partition(",")[0]
    program = shutil.which("scontrol", path=env.get("PATH"))
    knob = "set MASTER_ADDR to the machine of rank 0, the first of them (`export MASTER_ADDR=...` before srun)."
    if program is None:
        raise ConfigError(
            f"launcher='slurm' asks `scontrol` what machines {nodes!r} are, and there is none in PATH: {knob}"
        )
    done = subprocess.run([program, "show", "hostnames", nodes], check=False, capture_output=True, text=True)
    names = done.stdout.split()
    if done.returncode or not names:
        raise ConfigError(
            f"`scontrol show hostnames {nodes}` failed with exit status {done.returncode} "
            f"({(done.stderr or 'no output').strip()}): {knob}"
        )
    return names[0]


def _from_mpi(env: Mapping[str, str]) -> dict[str, str]:
    kind = next((names for names in _MPI if names[0] in env), _MPI[0])
    found = _required(env, kind[:3], "mpi", "mpirun", "`mpirun -n 2 ...`")
    rank, size, local_rank = found.values()
    address = env.get("MASTER_ADDR")
    if not address and env.get(kind[3]) != size:
        raise ConfigError(
            f"launcher='mpi' with {size} processes on several machines needs the name of the one that has rank 0, and "
            "MPI does not tell it: set MASTER_ADDR for all of them, as in `mpirun -x MASTER_ADDR=node1 ...`."
        )
    return {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": local_rank, "MASTER_ADDR": address or _HERE}


def _required(
    env: Mapping[str, str], names: tuple[str, ...], launcher: str, starter: str, command: str
) -> dict[str, str]:
    missing = [name for name in names if name not in env]
    if missing:
        raise ConfigKeyError(
            f"launcher={launcher!r} needs the environment that {starter} sets, and {', '.join(missing)} is missing: "
            f"start with {command}, or leave the launcher out to train in one process."
        )
    return {name: env[name] for name in names}


_SOURCES = {"pytorch": _from_torchrun, "slurm": _from_slurm, "mpi": _from_mpi}
