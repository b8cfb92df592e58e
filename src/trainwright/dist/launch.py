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
from trainwright.dist.process import is_distributed

LAUNCHERS = ("none", "pytorch")
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
_SETTINGS = ("backend", "timeout", "init_backend")
ATTEMPT = "TRAINWRIGHT_ATTEMPT"  # which start of the ranks this process belongs to, from 1, the same on all nodes
_is_ours = False


def infer_launcher() -> str:
    """How this process was started: 'pytorch' by torchrun, as its environment variables tell, otherwise 'none'."""
    return "pytorch" if all(name in os.environ for name in _VARIABLES) else "none"


def check_launcher(launcher: str) -> None:
    """Raise ConfigError for a launcher that there is not."""
    if launcher not in LAUNCHERS:
        raise ConfigError(
            f"launcher {launcher!r} is not available; available: {', '.join(map(repr, LAUNCHERS))}."
            f"{did_you_mean(launcher, LAUNCHERS)} 'none' trains in one process, 'pytorch' is for torchrun."
        )


def init_dist(launcher: str, backend: str | None = None, **settings: Any) -> None:
    """Join the process group that `launcher` started processes for; one that exists already is taken as it is.

    'none' starts nothing, 'pytorch' reads the environment of torchrun. `backend` None or 'nccl' is NCCL for CUDA
    tensors, with gloo for those of the CPU, and gloo alone where there is no CUDA device. `timeout` is in seconds:
    how long a rank waits for the others before it gives up.
    """
    check_launcher(launcher)
    timeout = _checked(settings)
    if launcher == "none" or is_distributed():
        return
    missing = [name for name in _VARIABLES if name not in os.environ]
    if missing:
        raise ConfigError(
            f"launcher='pytorch' needs the environment that torchrun sets, and {', '.join(missing)} is missing: start "
            "with `torchrun --nproc-per-node 2 ...`, or leave the launcher out to train in one process."
        )
    if torch.cuda.is_available():
        _choose_device(int(os.environ["LOCAL_RANK"]))
    _join(_backend_here(backend), timeout)


def cleanup() -> None:
    """Leave the process group that :func:`init_dist` joined; one that was there before stays."""
    global _is_ours
    forget_axes()
    if _is_ours and is_distributed():
        torch_dist.destroy_process_group()
    _is_ours = False


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
    timeout = settings.get("timeout")
    if timeout is None:
        return default_pg_timeout
    if isinstance(timeout, timedelta):
        return timeout
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout <= 0:
        raise ConfigTypeError(f"dist_cfg timeout must be a number of seconds above 0, but got {timeout!r}.")
    return timedelta(seconds=timeout)


def _choose_device(local_rank: int) -> None:
    n_devices = torch.cuda.device_count()
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
