"""How processes are started, and how many threads each may have."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from importlib.util import find_spec

from torch import multiprocessing

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def set_multi_processing(mp_start_method: str = "fork", opencv_num_threads: int = 0, distributed: bool = False) -> None:
    """Set the start method of processes, OpenCV's threads where it is installed (0: none beside the caller's), and,
    if `distributed`, one thread of OpenMP and MKL a process where the environment names no number.
    """
    if sys.platform != "win32":
        current = multiprocessing.get_start_method(allow_none=True)
        if current not in (None, mp_start_method):
            warnings.warn(
                f"mp_start_method={mp_start_method!r} takes the place of {current!r}, which this process had before",
                stacklevel=2,
            )
        multiprocessing.set_start_method(mp_start_method, force=True)
    if find_spec("cv2") is not None:
        importlib.import_module("cv2").setNumThreads(opencv_num_threads)
    for name in _THREADS if distributed else ():
        if name not in os.environ:
            warnings.warn(
                f"{name} is not set: it becomes 1, so that the processes of a machine do not fight for its cores. Set "
                "it in the environment to have more",
                stacklevel=2,
            )
            os.environ[name] = "1"
