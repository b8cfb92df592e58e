"""Names of mmengine.dist.utils, and how it finds a launcher."""

import os

from trainwright.dist.collectives import barrier
from trainwright.dist.devices import cast_data_device, get_backend, get_comm_device, get_data_device
from trainwright.dist.launch import init_dist
from trainwright.dist.local_group import (
    get_default_group,
    get_local_group,
    get_local_rank,
    get_local_size,
    init_local_group,
)
from trainwright.dist.process import (
    get_dist_info,
    get_rank,
    get_world_size,
    is_distributed,
    is_main_process,
    master_only,
)

__all__ = [
    "barrier",
    "cast_data_device",
    "get_backend",
    "get_comm_device",
    "get_data_device",
    "get_default_group",
    "get_dist_info",
    "get_local_group",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "infer_launcher",
    "init_dist",
    "init_local_group",
    "is_distributed",
    "is_main_process",
    "master_only",
]

_MARKS = {"WORLD_SIZE": "pytorch", "SLURM_NTASKS": "slurm", "OMPI_COMM_WORLD_LOCAL_RANK": "mpi"}


def infer_launcher() -> str:
    """The launcher that the first of MMEngine's three variables which is set stands for; 'none' without any."""
    return next((launcher for name, launcher in _MARKS.items() if name in os.environ), "none")
