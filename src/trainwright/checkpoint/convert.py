"""A checkpoint of any kind written in another layout; what was read is left as it is."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.folder import write_folder
from trainwright.checkpoint.format import plain_tree, write_file
from trainwright.checkpoint.tensor_files import DTYPES, write_tensors
from trainwright.checkpoint.weights import weights_of
from trainwright.io import fsync_dir, temporary

LAYOUTS = ("pth", "safetensors", "folder")


def layout_for(path: str | os.PathLike[str], wished: str | None = None) -> str:
    """The layout to write at ``path``: the one wished for, or what its suffix says; without a suffix a folder."""
    if wished is not None:
        if wished not in LAYOUTS:
            raise CheckpointError(f"there is no layout {wished!r}: choose {', '.join(LAYOUTS)}.")
        return wished
    suffix = Path(path).suffix.lower()
    return "safetensors" if suffix == ".safetensors" else "folder" if not suffix else "pth"


def write_as(layout: str, path: str | os.PathLike[str], tree: Mapping[str, Any], force: bool = False) -> list[str]:
    """Publish ``tree`` at ``path`` atomically; returns the parts that the layout cannot hold and that were left out.

    What is there already is an error unless ``force``. A safetensors file has the weights alone.
    """
    target = Path(path)
    if target.exists() and not force:
        raise CheckpointError(f"{str(target)!r} exists: choose another name, or replace it with --force.")
    if target.is_dir() != (layout == "folder") and target.exists():
        raise CheckpointError(f"{str(target)!r} exists and is of another layout: remove it, or choose another name.")
    if not target.parent.is_dir():
        raise CheckpointError(f"the folder {str(target.parent)!r} does not exist: make it first.")
    if layout == "safetensors":
        return _write_safetensors(target, tree)
    if layout == "folder":
        write_folder(target, dict(tree))
    else:
        write_file(target, dict(tree))
    return []


def _write_safetensors(target: Path, tree: Mapping[str, Any]) -> list[str]:
    weights = plain_tree(target, weights_of(tree))
    tensors = OrderedDict((name, value) for name, value in weights.items() if isinstance(value, Tensor))
    unfit = [n for n, v in tensors.items() if v.dtype not in DTYPES or v.layout is not torch.strided or v.is_quantized]
    if unfit or not tensors:
        what = (
            f"{unfit[0]!r} is a {tensors[unfit[0]].dtype} {tensors[unfit[0]].layout}" if unfit else "it has no weights"
        )
        raise CheckpointError(f"{str(target)!r} was not written: the safetensors format cannot hold this, {what}.")
    tmp = temporary(target)
    try:
        write_tensors(tmp, tensors)
        os.replace(tmp, target)
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise
    fsync_dir(target.parent)
    lost = [f"state_dict.{name}" for name in weights if name not in tensors]
    return lost + [str(key) for key in tree if key not in ("state_dict", "model") and weights_of(tree) is not tree]
