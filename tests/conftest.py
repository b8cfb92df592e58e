import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import gc
import importlib.util
import multiprocessing
import random
import signal
import sys
import threading
import types
import warnings

import numpy as np
import pytest
import torch

from trainwright.base.logs import MMLogger
from trainwright.visualization import Visualizer

torch.set_num_threads(1)
# Forked processes leave alone what lies in the garbage of this one: to end a process group, they would wait for ever
# for threads that they have not.
os.register_at_fork(after_in_child=gc.freeze)
for _name in ("CI", "GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)  # what a service or a user wants of colours and bars is not what is tested


def named_instances():
    return {cls: dict(cls._instance_dict) for cls in (MMLogger, Visualizer)}


def close_new(named):
    """Close loggers and visualizers that were made since."""
    for cls, before in named.items():
        for name, instance in list(cls._instance_dict.items()):
            if before.get(name) is not instance:
                instance.close()
                cls._instance_dict.pop(name, None)


@pytest.fixture(autouse=True, scope="module")
def nothing_left_by_a_module():
    """Loggers and visualizers of runs that the tests of a module share, and workers of loaders in the garbage."""
    named = named_instances()
    yield
    close_new(named)
    if multiprocessing.active_children():
        gc.collect()


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Random streams, global torch settings, the working folder, what signals do, loggers and visualizers are as before
    each test. A program that has trained ignores SIGTERM until it ends, and so would every process that is forked here.
    """
    streams = random.getstate(), np.random.get_state(), torch.get_rng_state()
    folder, default_dtype = os.getcwd(), torch.get_default_dtype()
    named = named_instances()
    threads = set(threading.enumerate())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    close_new(named)
    random.setstate(streams[0])
    np.random.set_state(streams[1])
    torch.set_rng_state(streams[2])
    os.chdir(folder)
    assert torch.get_default_dtype() == default_dtype
    left = [thread for thread in threading.enumerate() if thread not in threads and not thread.daemon]
    assert not left, f"threads left running: {left}"


@pytest.fixture(scope="session")
def real_mmcv():
    """The mmcv 1.x that is installed, for tests marked `mmcv1`; they are skipped where there is none.

    It imports torchvision for model weights that nobody asks for here, so an empty module stands for it where it is
    missing; what its imports warn of is its own business.
    """
    if importlib.util.find_spec("mmcv") is None:
        pytest.skip("needs mmcv 1.7.2: make peers-mmcv1")
    if importlib.util.find_spec("torchvision") is None:
        sys.modules.setdefault("torchvision", types.ModuleType("torchvision"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmcv.runner
    return mmcv
