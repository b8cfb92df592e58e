"""Small things of mmcv.runner: who and when, objects by dict, seeds."""

from __future__ import annotations

import os
import sys
import time
import warnings
from getpass import getuser
from socket import gethostname
from types import ModuleType
from typing import Any

import torch

from trainwright.compat.mmcv1 import runner as names
from trainwright.compat.mmcv1.errors import demand
from trainwright.state import rng


def get_host_info() -> str:
    """``user@host``; empty, with a warning, where one of them is not known, as in some containers."""
    try:
        return f"{getuser()}@{gethostname()}"
    except Exception as error:  # noqa: BLE001 - a line of a log is not worth a run
        warnings.warn(f"Host or user not found: {error}", stacklevel=2)
        return ""


def get_time_str() -> str:
    """Now, as names of files and runs have it."""
    return time.strftime("%Y%m%d_%H%M%S", time.localtime())


def obj_from_dict(info: dict[str, Any], parent: ModuleType | None = None, default_args: Any = None) -> Any:
    """What ``type`` of ``info`` makes of the other items: a class, or its name in ``parent`` or among the modules."""
    demand(isinstance(info, dict) and "type" in info, f"info must be a dict with the key 'type', got {info!r}")
    demand(default_args is None or isinstance(default_args, dict), f"default_args must be a dict, got {default_args!r}")
    args = {**(default_args or {}), **info}
    kind = args.pop("type")
    if isinstance(kind, str):
        kind = sys.modules[kind] if parent is None else getattr(parent, kind)
    elif not isinstance(kind, type):
        raise TypeError(f"type must be a str or valid type, but got {kind!r} of {type(kind)}")
    return kind(**args)


def set_random_seed(seed: int, deterministic: bool = False, use_rank_shift: bool = False) -> None:
    """Seed Python, NumPy and torch. ``deterministic``: cuDNN too; ``use_rank_shift``: each rank with another seed."""
    if use_rank_shift:
        seed += names.get_dist_info()[0]
    rng.seed_all(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
    if deterministic:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
