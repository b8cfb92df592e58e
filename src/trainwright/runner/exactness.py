"""What a checkpoint says of where it was made, and what a run that resumes it says about the differences."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from trainwright.base.errors import ConfigError
from trainwright.base.text import brief
from trainwright.runner.spec import NAMES
from trainwright.state import plain_items

# Keys of a config that change nothing of what is computed.
_BESIDE = (
    *("work_dir", "load_from", "resume", "resume_cfg", "launcher", "log_level", "log_processor", "visualizer"),
    *("experiment_name", "trust_checkpoint", "default_hooks", "strategy", "env_cfg"),
)
_VERSIONS = ("torch", "numpy", "python", "cuda", "cudnn", "device", "cpu")
_FLAGS = ("deterministic", "cudnn_deterministic", "cudnn_benchmark", "matmul_precision")
_SHOWN = 6
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def environment(device: torch.device) -> dict[str, Any]:
    """Threads, flags and versions that the last bits of a training depend on."""
    on_cuda = device.type == "cuda"
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "cuda": str(torch.version.cuda) if on_cuda else None,
        "cudnn": torch.backends.cudnn.version() if on_cuda else None,
        "device": torch.cuda.get_device_name(device) if on_cuda else device.type,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def fingerprint(runner: Any, loader: Any) -> dict[str, Any]:
    """The settings of the config by name, and what is known of the training set in ``loader``, as short text."""
    settings = {}
    for name in NAMES:
        value = runner.cfg.get(name)
        if name in _BESIDE or value is None:
            continue
        parts = value.items() if isinstance(value, Mapping) else [(None, value)]
        settings.update({name if part is None else f"{name}.{part}": _short(item) for part, item in parts})
    if settings:  # what it is where the config does not say, too: that depends on the face
        settings.setdefault("randomness.keyed", repr(runner.strategy.keyed))
    dataset = getattr(loader, "dataset", None)
    if dataset is None:
        return {"config": settings, "dataset": {}}
    data = {"type": type(dataset).__name__, "metainfo": _short(getattr(dataset, "metainfo", None))}
    if hasattr(type(dataset), "__len__"):
        data["length"] = str(len(dataset))
    return {"config": settings, "dataset": data}


def _short(value: Any) -> str:
    text = _ADDRESS.sub("", repr(value))
    if len(text) <= 80:
        return text
    return f"{brief(text, 60)} ({hashlib.sha256(text.encode()).hexdigest()[:12]})"


def take_over_environment(runner: Any, meta: dict[str, Any]) -> None:
    """Say what differs from where the checkpoint was made; with ``deterministic`` the threads are set back."""
    before = meta.get("environment")
    if not before:
        return
    warn = runner.logger.warning
    threads, own = before.get("threads"), torch.get_num_threads()
    if isinstance(threads, int) and threads != own:
        if runner.strategy.deterministic:
            _set_threads(threads)
            runner.logger.info(
                "the checkpoint was computed with %d threads, and torch had %d here: set to %d, for equal bits",
                *(threads, own, threads),
            )
        else:
            warn(
                "the checkpoint was computed with %d threads and torch has %d here: results will differ in the last "
                "bits. Set OMP_NUM_THREADS=%d for equal ones, or randomness=dict(deterministic=True), which sets them.",
                *(threads, own, threads),
            )
    now = environment(runner.strategy.device)
    for names, rule in (
        (_FLAGS, "results may differ in the last bits; randomness=dict(deterministic=True) sets the flags"),
        (_VERSIONS, "equal bits are promised for equal versions and devices only"),
    ):
        changed = [name for name in names if name in before and before[name] != now[name]]
        differing = [f"{name} {before[name]} -> {now[name]}" for name in changed]
        if differing:
            warn("other than where the checkpoint was made: %s; %s", ", ".join(differing), rule)


def _set_threads(wanted: int) -> None:
    torch.set_num_threads(wanted)
    if torch.get_num_threads() != wanted:
        raise ConfigError(
            f"the checkpoint was computed with {wanted} threads, and torch cannot have more than "
            f"{torch.get_num_threads()} here: with randomness=dict(deterministic=True) the bits must be equal. Set "
            f"OMP_NUM_THREADS={wanted}, or resume without deterministic"
        )


def compare_fingerprints(runner: Any, meta: dict[str, Any]) -> None:
    """Warn of settings and of a training set that are not those of the checkpoint."""
    before, now = meta.get("fingerprint"), fingerprint(runner, runner.train_dataloader)
    if not before or before.get("dataset") == now["dataset"]:
        _compare_metainfo(runner, meta)
    if not before:
        return
    for part, rule in (
        ("config", "they are used as they are now"),
        ("dataset", "the order of the samples is another one where the length differs"),
    ):
        if not before.get(part) or not now[part]:
            continue  # a run of objects has no config to compare
        found = list(_differences(before[part], now[part]))
        if found:
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            runner.logger.warning(
                "other than in the checkpoint, in the %s: %s%s; %s", part, "; ".join(found[:_SHOWN]), more, rule
            )


def _compare_metainfo(runner: Any, meta: dict[str, Any]) -> None:
    """Warn of other facts of the training set; this is all that a checkpoint of MMEngine says of it."""
    both = (meta.get("dataset_meta"), dataset_meta(runner.train_dataloader))
    before, now = (plain_items(facts)[0] if isinstance(facts, Mapping) else {} for facts in both)
    if "dataset_meta" in meta and repr(before) != repr(now):
        runner.logger.warning(
            "the metainfo of the training set is not that of the checkpoint: %s -> %s; its weights may be for other "
            "classes",
            *(_short(before), _short(now)),
        )


def dataset_meta(loader: Any) -> Any:
    """The ``metainfo`` of the set in ``loader``, where it has one."""
    return getattr(getattr(loader, "dataset", None), "metainfo", None)


def _differences(before: dict[str, str], now: dict[str, str]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        one, other = before.get(name, "not set"), now.get(name, "not set")
        if one != other:
            yield f"{name} {one} -> {other}"
