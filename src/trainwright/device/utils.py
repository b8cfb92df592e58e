"""Which kind of device there is.

A device of a package beside torch (Ascend NPU, Cambricon MLU, DIPU, MUSA) is looked for when it is first asked about.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

# Ascend chips from this one on compute in full precision.
_FULL_PRECISION_SOC = 220
_BYTES_PER_MIB = 1024 * 1024


def is_cuda_available() -> bool:
    """Whether there is an NVIDIA or AMD GPU."""
    return torch.cuda.is_available()


def is_mps_available() -> bool:
    """Whether there is a GPU of Apple's."""
    return torch.backends.mps.is_available()


def is_npu_available() -> bool:
    """Whether there is an Ascend NPU, and torch_npu."""
    return bool(_constant("IS_NPU_AVAILABLE"))


def is_mlu_available() -> bool:
    """Whether there is a Cambricon MLU, and torch_mlu."""
    return bool(_constant("IS_MLU_AVAILABLE"))


def is_dipu_available() -> bool:
    """Whether there is torch_dipu."""
    return bool(_constant("IS_DIPU_AVAILABLE"))


def is_musa_available() -> bool:
    """Whether there is torch_musa."""
    return bool(_constant("IS_MUSA_AVAILABLE"))


def is_npu_support_full_precision() -> bool:
    """Whether the NPU trains in full precision too."""
    if not is_npu_available():
        return False
    version: int = importlib.import_module("torch_npu.npu.utils").get_soc_version()
    return version >= _FULL_PRECISION_SOC


def get_device() -> str:
    """The kind of device that there is: npu, cuda, mlu, mps, dipu or musa, the first in this order; otherwise cpu."""
    return str(_constant("DEVICE"))


def get_max_cuda_memory(device: torch.device | None = None) -> int:
    """The most memory that tensors took on the GPU since the last call, in MiB."""
    n_bytes = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return n_bytes // _BYTES_PER_MIB


def get_max_musa_memory(device: torch.device | None = None) -> int:
    """The most memory that tensors took on the GPU since the program began, in MiB."""
    n_bytes: int = torch.musa.max_memory_allocated(device=device)  # type: ignore[attr-defined]
    return n_bytes // _BYTES_PER_MIB


def _has(package: str) -> bool:
    """Whether the package is there and can be imported: without its driver it cannot."""
    if find_spec(package) is None:
        return False
    try:
        importlib.import_module(package)
    except Exception:  # noqa: BLE001 - whatever it is that a machine without the device makes of it
        return False
    return True


def _has_npu() -> bool:
    if not _has("torch_npu"):
        return False
    npu: Any = torch.npu  # type: ignore[attr-defined]
    # Operators of shapes that change are not compiled anew each time.
    npu.set_compile_mode(jit_compile=bool(os.environ.get("NPUJITCompile")))  # noqa: SIM112 - spelt so by MMEngine
    return bool(npu.is_available())


def _has_mlu() -> bool:
    return _has("torch_mlu") and bool(torch.mlu.is_available())  # type: ignore[attr-defined]


def _find_device() -> str:
    kinds = {
        "npu": is_npu_available,
        "cuda": is_cuda_available,
        "mlu": is_mlu_available,
        "mps": is_mps_available,
        "dipu": is_dipu_available,
        "musa": is_musa_available,
    }
    return next((kind for kind, is_there in kinds.items() if is_there()), "cpu")


# DEVICE is found anew each time: torch remembers what costs, and a device may be hidden meanwhile.
_FINDERS: dict[str, Callable[[], Any]] = {
    "IS_NPU_AVAILABLE": cache(_has_npu),
    "IS_MLU_AVAILABLE": cache(_has_mlu),
    "IS_DIPU_AVAILABLE": cache(lambda: _has("torch_dipu")),
    "IS_MUSA_AVAILABLE": cache(lambda: _has("torch_musa")),
    "DEVICE": _find_device,
}


def _constant(name: str) -> Any:
    """What was set from outside under that name, as a test does, or else what is found."""
    return globals()[name] if name in globals() else _FINDERS[name]()


def __getattr__(name: str) -> Any:
    if name in _FINDERS:
        return _FINDERS[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
