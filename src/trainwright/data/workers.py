"""Loader workers: seeding as MMEngine does it, and signals."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import warnings

import numpy as np
import torch
from torch.utils.data import get_worker_info

from trainwright.registry import FUNCTIONS


@FUNCTIONS.register_extra
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
    begin_work()


def mute_worker(worker_id: int) -> None:
    """Silence warnings in all workers but the first."""
    if worker_id != 0:
        warnings.simplefilter("ignore")


def begin_work() -> None:
    """Let this worker end with its training, and not by a signal for it that all processes of a job get, and leave
    alone what lies in the garbage of the process that it was forked from.

    A training that is asked to stop needs its workers for the rest of its window. SIGTERM ends a worker when its
    parent, who has no further use for it, sends it. A process group in the garbage would be waited for here for ever,
    since its threads were not forked; and to look through the parent's objects copies them, page by page.
    """
    if get_worker_info() is None:
        return
    gc.freeze()
    for name in ("SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform == "linux":  # elsewhere nobody says who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, name="trainwright-worker-signals", daemon=True).start()


def _end_when_told() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
