"""``trainwright doctor``: what this machine offers to a training, and what stands in its way."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import resource
import shutil
import sys

import torch

import trainwright
from trainwright.base.text import table

# Optional packages, and the extra that brings each.
OPTIONAL = {
    "matplotlib": "vis",
    "tensorboard": "vis",
    "sklearn": "demo",
    "mmengine": "peer",
    "lightning": "peer",
    "accelerate": "peer",
    "transformers": "peer",
}
REQUIRED = ("torch", "numpy", "PyYAML", "rich", "typer", "fsspec")
_MIN_FREE_GB = 2.0


def report() -> str:
    """Three tables (system, devices, packages) and a list of hints."""
    parts = [
        f"trainwright {trainwright.__version__}",
        table(_system(), ("system", "")),
        table(_devices(), ("device", "")),
        table(_packages(), ("package", "version")),
    ]
    hints = _hints()
    parts.append("To mend:\n" + "\n".join(f"- {hint}" for hint in hints) if hints else "Nothing to mend.")
    return "\n\n".join(parts)


def _system() -> list[tuple[str, str]]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [
        ("platform", platform.platform()),
        ("python", f"{platform.python_version()}  {sys.executable}"),
        ("cores", f"{_cores()} usable, torch uses {torch.get_num_threads()} threads"),
        ("memory", f"{_memory_gb():.1f} GB"),
        ("free disk here", f"{shutil.disk_usage(os.getcwd()).free / 2**30:.1f} GB"),
        ("open files", str(soft)),
    ]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _devices() -> list[tuple[str, str]]:
    rows = [("cpu", torch.backends.cpu.get_cpu_capability())]
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        rows.append((f"cuda:{index}", f"{facts.name}, {facts.total_memory / 2**30:.0f} GB"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "Apple GPU"))
    rows.append(("torch built for", f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"))
    return rows


def _packages() -> list[tuple[str, str]]:
    rows = [(name, importlib.metadata.version(name)) for name in REQUIRED]
    for module, extra in OPTIONAL.items():
        rows.append((module, _version(module) or f"not installed  (pip install 'trainwright[{extra}]')"))
    return rows


def _version(module: str) -> str | None:
    """Version of an installed package, found without importing it."""
    if importlib.util.find_spec(module) is None:
        return None
    names = importlib.metadata.packages_distributions().get(module, [module])
    return importlib.metadata.version(names[0])


def _hints() -> list[str]:
    hints = []
    if not os.access(os.getcwd(), os.W_OK):
        hints.append(f"{os.getcwd()} cannot be written; give --work-dir a folder that can")
    if shutil.disk_usage(os.getcwd()).free / 2**30 < _MIN_FREE_GB:
        hints.append(f"less than {_MIN_FREE_GB:.0f} GB of disk are free here; checkpoints may not fit")
    if torch.get_num_threads() > _cores():
        hints.append(f"torch uses more threads than there are cores; set OMP_NUM_THREADS={_cores()}")
    if torch.version.cuda and not torch.cuda.is_available():
        hints.append("torch is built for CUDA but finds no GPU; look at nvidia-smi and the driver's version")
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        hints.append(
            "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set: other programs that call torch.load run what is in the file"
        )
    return hints
