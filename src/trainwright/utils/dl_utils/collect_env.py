"""What the machine and its packages are."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from importlib import metadata
from typing import Any

import numpy as np
import torch

from trainwright.base.version import __version__
from trainwright.device import is_cuda_available, is_musa_available
from trainwright.utils.dl_utils.parrots_wrapper import _get_cuda_home, get_build_config, is_rocm_pytorch

NOT_THERE = "n/a"
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")


def collect_env() -> dict[str, Any]:
    """The facts of the machine and of the packages, under the names that MMEngine gives them; ``GCC`` is the compiler
    that built Python. A package that is not installed has no entry; OpenCV and the compilers are then 'n/a'.
    """
    facts: dict[str, Any] = {
        "sys.platform": sys.platform,
        "Python": sys.version.replace("\n", ""),
        "CUDA available": is_cuda_available(),
        "MUSA available": is_musa_available(),
        "numpy_random_seed": int(np.random.get_state()[1][0]),  # type: ignore[index]
    }
    if is_cuda_available():
        facts |= {**_devices(torch.cuda), **_cuda()}
    elif is_musa_available():
        facts |= _devices(torch.musa)  # type: ignore[attr-defined]
        facts["MUSA_HOME"] = home = os.environ.get("MUSA_HOME")
        if home is not None:
            facts["mcc"] = _line_of([os.path.join(home, "bin", "mcc"), "-v"], 0)
    compiler = shlex.split(sysconfig.get_config_var("CC") or "")[:1]
    facts["GCC"] = _line_of([*compiler, "--version"], 0) if compiler else NOT_THERE
    facts["PyTorch"] = torch.__version__
    facts["PyTorch compiling details"] = get_build_config()
    if version := _version_of("torchvision"):
        facts["TorchVision"] = version
    facts["OpenCV"] = next((version for package in _OPENCV if (version := _version_of(package))), NOT_THERE)
    # Of the face, where `import mmengine` is ours.
    if version := getattr(sys.modules.get("mmengine"), "__version__", None) or _version_of("mmengine"):
        facts["MMEngine"] = version
    facts["Trainwright"] = __version__
    return facts


def _devices(backend: Any) -> dict[str, str]:
    """`{"GPU 0,1": name}`."""
    names = [backend.get_device_name(index) for index in range(backend.device_count())]
    return {
        "GPU " + ",".join(str(index) for index, one in enumerate(names) if one == name): name
        for name in dict.fromkeys(names)
    }


def _cuda() -> dict[str, Any]:
    home = _get_cuda_home()
    if home is None:
        return {"CUDA_HOME": None}
    program = ("hipcc", "--version") if is_rocm_pytorch() else ("nvcc", "-V")
    line = 0 if is_rocm_pytorch() else -1
    return {"CUDA_HOME": home, "NVCC": _line_of([os.path.join(home, "bin", program[0]), program[1]], line)}


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _line_of(command: list[str], place: int) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return NOT_THERE
    lines = done.stdout.strip().splitlines() or [NOT_THERE]
    return lines[place]
