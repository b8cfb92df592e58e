"""Every kind of checkpoint that can be read: which one it is, and its tree."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import manifest
from trainwright.checkpoint.dcp import is_dcp, read_dcp
from trainwright.checkpoint.deepspeed import is_deepspeed, read_deepspeed
from trainwright.checkpoint.folder import check_folder, read_folder
from trainwright.checkpoint.format import MapLocation, check_file, read_file
from trainwright.io import is_url

STEP_FOLDER = "step folder"
DCP = "torch.distributed.checkpoint folder"
DEEPSPEED = "DeepSpeed folder"
SAFETENSORS = "safetensors"
_MAX_HEAD = 100_000_000  # what the format allows for its table


def read_checkpoint(
    path: str | os.PathLike[str], map_location: MapLocation = "cpu", trusted: bool = False
) -> dict[str, Any]:
    """The tree of a checkpoint of any kind, checked as far as its format has checksums, read without running code.

    A file of weights alone, as safetensors are, has them under ``state_dict``. ``trusted=True`` allows a torch file to
    run code, where it holds objects that are not known; see :func:`read_file`.
    """
    layout = layout_of(path)
    if layout == STEP_FOLDER:
        return read_folder(path, map_location)
    if layout == DCP:
        return read_dcp(path, map_location)
    if layout == DEEPSPEED:
        return read_deepspeed(Path(path), map_location)
    if layout == SAFETENSORS:
        return _read_safetensors(os.fspath(path), map_location)
    return read_file(path, map_location, trusted)


def check_checkpoint(path: str | os.PathLike[str]) -> None:
    """Raise CheckpointError if it can be seen without reading tensors that ``path`` is no whole checkpoint."""
    layout = layout_of(path)
    if layout == STEP_FOLDER:
        check_folder(path, sums=False)
    elif layout == SAFETENSORS:
        _read_safetensors(os.fspath(path), "cpu", with_tensors=False)
    elif layout not in (DCP, DEEPSPEED):
        check_file(os.fspath(path))


def layout_of(path: str | os.PathLike[str]) -> str:
    """:data:`STEP_FOLDER`, :data:`DCP`, :data:`DEEPSPEED`, :data:`SAFETENSORS`, or "" for what may be a torch file."""
    text = os.fspath(path)
    if is_url(text):
        return ""
    file = Path(text)
    if file.is_dir():
        is_step = (file / manifest.NAME).is_file() or any(file.glob("tensors-*.safetensors"))  # or what is left of one
        if is_step or is_dcp(file):
            return STEP_FOLDER if is_step else DCP
        return DEEPSPEED if is_deepspeed(file) else ""
    if not file.is_file():
        return ""
    with open(file, "rb") as stream:
        head = stream.read(9)
    n_table = int.from_bytes(head[:8], "little")
    is_table = head[8:] == b"{" and n_table <= min(_MAX_HEAD, file.stat().st_size)
    return SAFETENSORS if is_table or file.suffix == ".safetensors" else ""


def kind_of(path: str | os.PathLike[str], tree: Mapping[str, Any]) -> str:
    """Who wrote the checkpoint at ``path``, in words, and in which layout."""
    layout = layout_of(path)
    meta = tree.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    for key, name in (
        ("trainwright_version", "Trainwright"),
        ("mmengine_version", "MMEngine"),
        ("mmcv_version", "MMCV 1.x"),
    ):
        if key in meta:
            return f"{name} {meta[key]}" + (f", {layout}" if layout else "")
    if layout:
        return layout
    if isinstance(tree.get("model"), Mapping) and {"__author__", "iteration", "matching_heuristics"} & set(tree):
        return "detectron2"
    is_flat = all(isinstance(value, torch.Tensor) for value in tree.values())
    return "weights" if is_flat or isinstance(tree.get("state_dict"), Mapping) else "torch file"


def _read_safetensors(path: str, map_location: MapLocation, with_tensors: bool = True) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names, facts = list(file.keys()), dict(file.metadata() or {})
            tensors = OrderedDict((name, file.get_tensor(name)) for name in names) if with_tensors else {}
    except (SafetensorError, ValueError, OverflowError, AttributeError) as error:
        raise CheckpointError(
            f"{path!r} is not a whole file in the safetensors format ({str(error)[:200]}). Copy it again."
        ) from error
    if isinstance(map_location, (str, torch.device)):
        tensors = OrderedDict((name, tensor.to(map_location)) for name, tensor in tensors.items())
    return {"state_dict": tensors, "meta": facts}
