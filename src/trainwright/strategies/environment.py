"""The process environment of a run: multiprocessing, limits, cuDNN, seeds, time stamp."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from trainwright import dist
from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError
from trainwright.base.logs import MMLogger
from trainwright.base.text import did_you_mean
from trainwright.state import rng


@dataclass(frozen=True)
class Environment:
    """What :func:`setup_environment` settled."""

    launcher: str
    distributed: bool
    rank: int
    world_size: int
    timestamp: str


@dataclass(frozen=True)
class Randomness:
    """``randomness=dict(...)`` of a run.

    ``seed`` None draws one (the same on all ranks). ``diff_rank_seed`` adds the rank to the process seed.
    ``deterministic`` asks torch for deterministic algorithms. ``keyed`` makes the data of a run a function of (seed,
    epoch, index), which exact resume needs; False seeds workers as MMEngine does and gives its numbers.
    """

    seed: int | None = None
    diff_rank_seed: bool = False
    deterministic: bool = False
    keyed: bool = field(default_factory=lambda: defaults.keyed)

    @classmethod
    def from_cfg(cls, cfg: dict[str, Any]) -> Randomness:
        """Read and check the dict."""
        known = list(cls.__dataclass_fields__)
        for name in cfg:
            if name not in known:
                raise ConfigError(
                    f"randomness has no setting {name!r}; it takes {', '.join(known)}.{did_you_mean(name, known)}"
                )
        settings = cls(**cfg)
        seed = settings.seed
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63):
            raise ConfigError(f"randomness seed must be a whole number from 0 to 2**63 - 1, but got {seed!r}.")
        return settings


def setup_environment(
    launcher: str = "none",
    cudnn_benchmark: bool = False,
    mp_cfg: dict[str, Any] | None = None,
    dist_cfg: dict[str, Any] | None = None,
    resource_limit: int = 4096,
    join: Callable[..., None] = dist.init_dist,
) -> Environment:
    """Set multiprocessing, limits and cuDNN, and return the facts of this process.

    ``mp_cfg`` takes ``mp_start_method`` ('fork', 'spawn', 'forkserver') and ``opencv_num_threads``; ``dist_cfg`` is
    for launchers that start a process group, see ``dist.init_dist``; ``resource_limit`` is the wished soft limit of
    open files. ``join(launcher, **dist_cfg)`` is called where there are several processes.
    """
    dist.check_launcher(launcher)
    if cudnn_benchmark:
        torch.backends.cudnn.benchmark = True
    _setup_multiprocessing(**(mp_cfg or {}))
    _raise_file_limit(resource_limit)
    (dist.init_dist if launcher == "none" else join)(launcher, **(dist_cfg or {}))
    rank, world_size = dist.get_dist_info()
    stamp = time.strftime("%Y%m%d_%H%M%S", time.localtime())
    return Environment(launcher, launcher != "none", rank, world_size, stamp)


def default_device() -> torch.device:
    """The current CUDA device, Apple's, or the CPU, in this order."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _setup_multiprocessing(mp_start_method: str | None = None, opencv_num_threads: int = 0) -> None:
    if mp_start_method is not None and sys.platform != "win32":
        current = torch.multiprocessing.get_start_method(allow_none=True)
        if current != mp_start_method:
            torch.multiprocessing.set_start_method(mp_start_method, force=True)
    cv2 = sys.modules.get("cv2")  # never imported for its own sake
    if cv2 is not None:
        cv2.setNumThreads(opencv_num_threads)


def _raise_file_limit(wished: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = max(soft, wished) if hard == resource.RLIM_INFINITY else min(max(soft, wished), hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def set_randomness(settings: Randomness, rank: int) -> int:
    """Seed this process and set determinism; returns the seed of the run (without the rank's share)."""
    seed = settings.seed if settings.seed is not None else dist.sync_random_seed()
    rng.seed_all(seed + rank if settings.diff_rank_seed else seed)
    if settings.deterministic:
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        # cuBLAS needs this before its first call; torch raises a message of its own when it comes too late.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return seed


def run_name(experiment_name: str | None, stamp: str) -> str:
    """The given name with the time stamp, or the time stamp alone."""
    return stamp if experiment_name is None else f"{experiment_name}_{stamp}"


def claimed(folder: str, logger_name: str) -> bool:
    """Make ``folder`` unless it, or a logger of that name, is there."""
    if MMLogger.check_instance_created(logger_name):
        return False
    try:
        os.mkdir(folder)
    except FileExistsError:
        return False
    return True
