"""Seeding of loader workers as MMEngine does it."""

from __future__ import annotations

import random
import warnings

import numpy as np
import torch

from trainwright.registry import FUNCTIONS


@FUNCTIONS.register_module()
def worker_init_fn(
    worker_id: int, num_workers: int, rank: int, seed: int, disable_subprocess_warning: bool = False
) -> None:
    """Give each worker of each rank its own seed, ``num_workers * rank + worker_id + seed``.

    `disable_subprocess_warning` silences warnings in all workers but the first.
    """
    worker_seed = num_workers * rank + worker_id + seed
    np.random.seed(worker_seed % 2**32)
    random.seed(worker_seed)
    torch.manual_seed(worker_seed)
    if disable_subprocess_warning:
        mute_worker(worker_id)


def mute_worker(worker_id: int) -> None:
    """Silence warnings in all workers but the first."""
    if worker_id != 0:
        warnings.simplefilter("ignore")
