"""A name that the processes of one run have in common."""

from __future__ import annotations

import os
import uuid
from multiprocessing import parent_process
from typing import Any

from torch import distributed as torch_dist
from torch.utils.data import get_worker_info

from trainwright.dist import get_world_size, is_distributed

_KEY = "trainwright/run"
_inherited_group: Any = None  # a forked process must not talk through its parent's connection


def run_name() -> str:
    """Of all ranks, agreed through their store without waiting; of a loader's workers their parent's process number."""
    parent = parent_process()
    if in_worker() and parent is not None:
        return f"p{parent.pid}"
    if get_world_size() > 1 and not _is_inherited():
        store = torch_dist.distributed_c10d._get_default_store()
        return str(store.compare_set(_KEY, "", uuid.uuid4().hex).decode())
    return f"p{os.getpid()}"


def is_shared() -> bool:
    """Whether other processes may want the data that this one loads."""
    return in_worker() or (get_world_size() > 1 and not _is_inherited())


def in_worker() -> bool:
    """Whether this is a worker of a loader."""
    return get_worker_info() is not None


def _is_inherited() -> bool:
    return _inherited_group is not None and torch_dist.group.WORLD is _inherited_group


def _note_group() -> None:
    global _inherited_group
    _inherited_group = torch_dist.group.WORLD if is_distributed() else None


os.register_at_fork(after_in_child=_note_group)
