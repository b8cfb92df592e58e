"""Starting and ending the process group of a run."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import torch
from torch import distributed as torch_dist
from torch.distributed import distributed_c10d
from torch.distributed.constants import default_pg_timeout
from torch.distributed.rendezvous import rendezvous

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean
from trainwright.dist.axes import forget_axes
from trainwright.dist.local_group import forget_local_group
from trainwright.dist.process import is_distributed
from trainwright.dist.started import variables_of

LAUNCHERS = ("none", "pytorch", "slurm", "mpi", "ray")
_SETTINGS = ("backend", "timeout", "init_backend", "port")
ATTEMPT = "TRAINWRIGHT_ATTEMPT"  # which start of the ranks this process belongs to, from 1, the same on all nodes
_is_ours = False
_before: dict[str, str | None] = {}  # variables that :func:`init_dist` set, and what they were


def check_launcher(launcher: str) -> None:
    """Raise ConfigError for a launcher that there is not."""
    if launcher not in LAUNCHERS:
        raise ConfigError(
            f"launcher {launcher!r} is not available; available: {', '.join(map(repr, LAUNCHERS))}."
            f"{did_you_mean(launcher, LAUNCHERS)} 'none' trains in one process, 'pytorch' is for torchrun, 'slurm' for "
            "srun, 'mpi' for mpirun."
        )


def init_dist(launcher: str, backend: str | None = "nccl", init_backend: str = "torch", **kwargs: Any) -> None:
    """Join the process group that `launcher` started processes for; one that exists already is taken as it is.

    'none' starts nothing; 'pytorch' reads the environment of torchrun, 'slurm' that of srun, and 'mpi' that of mpirun;
    until :func:`cleanup` these are there in torchrun's words. `backend` 'nccl' or None is NCCL for CUDA tensors, with
    gloo for those of the CPU, and gloo alone where there is no CUDA device. `init_backend` is 'torch'. In `kwargs`:
    ``timeout`` in seconds, how long a rank waits for the others before it gives up, and ``port`` of rank 0's machine
    (default MASTER_PORT, or 29500).
    """
    check_launcher(launcher)
    timeout = _checked({"init_backend": init_backend, **kwargs})
    if launcher == "none" or is_distributed():
        return
    if launcher == "ray":
        raise ConfigError(
            "launcher='ray' is for a process that Ray started, where its process group exists: use `trainwright train "
            "... --launcher ray --nproc 2`, or trainwright.runner.on_ray.train_on_ray."
        )
    if launcher == "pytorch" and kwargs.get("port") is not None:
        raise ConfigError(
            "dist_cfg port is for launcher='slurm' and 'mpi': torchrun chooses its own (--master-port). Leave it out."
        )
    found = variables_of(launcher, kwargs.get("port"))
    if torch.cuda.is_available():
        _choose_device(int(found["LOCAL_RANK"]), launcher)
    _before.update({name: os.environ.get(name) for name in found})
    os.environ.update(found)
    try:
        _join(_backend_here(backend), timeout)
    except BaseException:
        _put_environment_back()
        raise


def cleanup() -> None:
    """Leave the process group that :func:`init_dist` joined; one that was there before stays."""
    global _is_ours
    forget_axes()
    if _is_ours and is_distributed():
        forget_local_group()
        torch_dist.destroy_process_group()
    _put_environment_back()
    _is_ours = False


def _put_environment_back() -> None:
    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _before.clear()


def group_store() -> Any:
    """The key-value store of the process group, over a connection of its own: a thread may wait on it."""
    store: Any = distributed_c10d._get_default_store()
    return store.clone()


def _checked(settings: dict[str, Any]) -> timedelta:
    for name in settings:
        if name not in _SETTINGS:
            raise ConfigError(
                f"dist_cfg has no setting {name!r}; it takes {', '.join(_SETTINGS)}.{did_you_mean(name, _SETTINGS)}"
            )
    if settings.get("init_backend", "torch") != "torch":
        raise ConfigError(
            f"dist_cfg init_backend={settings['init_backend']!r} is not available; leave it out ('torch')."
        )
    port = settings.get("port")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 2**16):
        raise ConfigTypeError(f"dist_cfg port must be a whole number from 1 to 65535, but got {port!r}.")
    timeout = settings.get("timeout")
    if timeout is None:
        return default_pg_timeout
    if isinstance(timeout, timedelta):
        return timeout
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
        raise ConfigTypeError(f"dist_cfg timeout must be a number of seconds above 0, but got {timeout!r}.")
    return timedelta(seconds=timeout)


def _choose_device(local_rank: int, launcher: str) -> None:
    n_devices = torch.cuda.device_count()
    if launcher != "pytorch" and n_devices == 1:  # srun and mpirun can show each process its own device alone
        local_rank = 0
    if local_rank >= n_devices:
        raise ConfigError(
            f"LOCAL_RANK is {local_rank}, and this machine has {n_devices} CUDA device(s): each process needs one of "
            f"its own. Start at most --nproc-per-node {n_devices}."
        )
    torch.cuda.set_device(local_rank)


def _backend_here(backend: str | None) -> str:
    if backend in (None, "nccl"):
        return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    return str(backend)


def _join(backend: str, timeout: timedelta) -> None:
    global _is_ours
    store, rank, world_size = next(iter(rendezvous("env://", timeout=timeout)))
    # torchrun keeps its store over restarts: without a prefix a new attempt finds the addresses of dead processes. Of
    # several nodes each counts its own restarts, and only our own agent (dist/agent.py) numbers them over all; without
    # it TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 gives a store an attempt.
    attempt = os.environ.get(ATTEMPT)
    if attempt is None and os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt is not None:
        store = distributed_c10d.PrefixStore(f"attempt_{attempt}", store)
    torch_dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    _is_ours = True
