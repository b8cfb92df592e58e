"""Several processes, as mmcv.runner starts and uses them."""

from __future__ import annotations

import atexit
import functools
import os
import re
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import distributed as dist

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.compat.mmcv1.errors import LackingError
from trainwright.dist import all_reduce_params
from trainwright.dist.started import DEFAULT_PORT

_NODES = re.compile(r"[\w\-.,\[\]]+")


def init_dist(launcher: str, backend: str = "nccl", **kwargs: Any) -> None:
    """Join the process group of the processes that 'pytorch' (torchrun), 'mpi' or 'slurm' started.

    `kwargs` go to torch.distributed.init_process_group; for 'slurm' there is only `port`. Without a CUDA device NCCL
    gives way to gloo.
    """
    if launcher not in _STARTERS:
        raise ConfigError(
            f"Invalid launcher type: {launcher}; there are {', '.join(_STARTERS)}.{did_you_mean(launcher, _STARTERS)}"
        )
    if backend == "nccl" and torch.cuda.device_count() == 0:
        backend = "gloo"
    _STARTERS[launcher](backend, **kwargs)
    atexit.register(_leave_gloo)


def _leave_gloo() -> None:
    """Scripts for MMCV leave the group to the end of the process. With gloo's threads that ends in an abort now and
    then, after which torchrun kills the other ranks, whatever they were saving."""
    if dist.is_initialized() and dist.get_backend() == "gloo":
        dist.destroy_process_group()


def _init_dist_pytorch(backend: str, **kwargs: Any) -> None:
    _use_device(int(os.environ.get("LOCAL_RANK") or _required("RANK", "torchrun")))
    dist.init_process_group(backend=backend, **kwargs)


def _init_dist_mpi(backend: str, **kwargs: Any) -> None:
    _use_device(int(_required("OMPI_COMM_WORLD_LOCAL_RANK", "mpirun")))
    _required("MASTER_ADDR", "you: `mpirun -x MASTER_ADDR=node1 ...`,")
    os.environ.setdefault("MASTER_PORT", DEFAULT_PORT)
    os.environ["WORLD_SIZE"] = _required("OMPI_COMM_WORLD_SIZE", "mpirun")
    os.environ["RANK"] = _required("OMPI_COMM_WORLD_RANK", "mpirun")
    dist.init_process_group(backend=backend, **kwargs)


def _init_dist_slurm(backend: str, port: int | None = None) -> None:
    rank = _required("SLURM_PROCID", "srun")
    nodes = _required("SLURM_NODELIST", "srun")
    if "MASTER_ADDR" not in os.environ:
        if not _NODES.fullmatch(nodes):
            raise ConfigError(f"SLURM_NODELIST must be a list of machines, got {nodes!r}: set MASTER_ADDR instead")
        os.environ["MASTER_ADDR"] = subprocess.getoutput(f"scontrol show hostname {nodes} | head -n1")
    if port is not None:
        os.environ["MASTER_PORT"] = str(port)
    os.environ.setdefault("MASTER_PORT", DEFAULT_PORT)  # the same for all ranks: none of them can choose one
    os.environ["WORLD_SIZE"] = _required("SLURM_NTASKS", "srun")
    os.environ["RANK"] = rank
    os.environ["LOCAL_RANK"] = str(_use_device(int(rank)))
    dist.init_process_group(backend=backend)


_STARTERS: dict[str, Callable[..., None]] = {
    "pytorch": _init_dist_pytorch,
    "mpi": _init_dist_mpi,
    "slurm": _init_dist_slurm,
}


def _use_device(rank: int) -> int:
    """Take the CUDA device of this rank, where there are any; gives its number, or the rank."""
    n_devices = torch.cuda.device_count()
    if n_devices == 0:
        return rank
    torch.cuda.set_device(rank % n_devices)
    return rank % n_devices


def _required(name: str, who: str) -> str:
    if name not in os.environ:
        raise LackingError(f"The environment variable {name} is not set: it is set by {who} for each process")
    return os.environ[name]


def get_dist_info() -> tuple[int, int]:
    """(rank, world size); (0, 1) without a process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def master_only(func: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator: only rank 0 calls the function."""

    @functools.wraps(func)
    def on_master(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs) if get_dist_info()[0] == 0 else None

    return on_master


def allreduce_params(params: Iterable[torch.Tensor], coalesce: bool = True, bucket_size_mb: int = -1) -> None:
    """Average parameters or buffers over the ranks, in place."""
    if get_dist_info()[1] > 1:
        all_reduce_params(params, coalesce, bucket_size_mb, "mean")


def allreduce_grads(params: Iterable[torch.Tensor], coalesce: bool = True, bucket_size_mb: int = -1) -> None:
    """Average the gradients of parameters over the ranks, in place."""
    grads = [param.grad for param in params if param.requires_grad and param.grad is not None]
    if get_dist_info()[1] > 1:
        all_reduce_params(grads, coalesce, bucket_size_mb, "mean")
