"""Both layouts of a checkpoint behind one face: the single file, and the step folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import manifest
from trainwright.checkpoint.folder import ASIDE, folder_meta
from trainwright.checkpoint.format import read_meta

LAYOUTS = ("file", "folder")
Signature = tuple[tuple[str, int, int, int], ...]


def name_in(layout: str, name: str) -> str:
    """The name of a checkpoint in a layout: a folder has that of the file, without ``.pth``."""
    return name[:-4] if layout == "folder" and name.endswith(".pth") else name


def is_step_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a complete step folder lies at ``path``, or what looks like the rest of one."""
    folder = Path(path)
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return (folder / manifest.NAME).is_file() or any(folder.glob("tensors-*.safetensors"))


def meta_of(path: str) -> dict[str, Any]:
    """The counters of a local checkpoint; no tensor is read. Raises CheckpointError when there are none."""
    if not is_step_folder(path):
        return read_meta(path)
    meta = folder_meta(path)
    if "iter" not in meta:
        raise CheckpointError(f"{path!r} has no readable training state: its manifest does not say the iteration.")
    return meta


def is_aside(path: str | os.PathLike[str]) -> bool:
    """Whether this is an older folder that a new one of the same name is about to replace."""
    return ASIDE in Path(path).name


def signature(path: str) -> Signature | None:
    """What the file system says of a checkpoint's files, which changes when they are written again; None when there is
    none."""
    whole = Path(path)
    try:
        files = sorted(whole.iterdir()) if whole.is_dir() else [whole]
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return None
    return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def n_bytes(tree: Any) -> int:
    """About how many bytes ``tree`` takes on the disk: those of its tensors, of sharded ones this rank's part."""
    waiting, seen, total = [tree], set(), 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            local: Any = getattr(value, "_local_tensor", value)
            total += local.numel() * local.element_size()
        elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting.extend(value.values() if isinstance(value, Mapping) else value)
    return total
