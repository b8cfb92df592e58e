"""The weights of a model in MMCV's layout: taken out, put in, written to a file."""

from __future__ import annotations

import io
import logging
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint import write_file
from trainwright.checkpoint.format import plain_tree, save_plain
from trainwright.checkpoint.loader import upload_to_pavi
from trainwright.checkpoint.module_state import collected_state, problems_of_loading, weights_to_cpu
from trainwright.compat.mmcv1.fileio import FileClient
from trainwright.compat.mmcv1.fileio.backends import HardDiskBackend
from trainwright.compat.mmcv1.parallel import is_module_wrapper
from trainwright.compat.mmcv1.runner.dist_utils import get_dist_info
from trainwright.compat.mmcv1.utils.logging import print_log
from trainwright.compat.mmcv1.version import __version__
from trainwright.io import fsync_dir, publish
from trainwright.io.atomic import temporary
from trainwright.state import plain_items

__all__ = ["get_state_dict", "load_state_dict", "save_checkpoint", "weights_to_cpu"]

LATEST = "latest.pth"


def load_state_dict(
    module: nn.Module, state_dict: Mapping[str, Any], strict: bool = False, logger: logging.Logger | None = None
) -> None:
    """Load weights into ``module``, also inside of module wrappers; what does not fit is told once, by rank 0.

    It is a warning of ``logger``, a line on stdout without one, or with ``strict`` an error. Modules that load older
    versions of themselves get the version that was saved. Counters of batch norms may be missing.
    """
    problems = problems_of_loading(module, state_dict, is_module_wrapper)
    if not problems or get_dist_info()[0] != 0:
        return
    text = "\n".join(["the model and loaded state dict do not match exactly\n", *problems])
    if strict:
        raise CheckpointError(text)
    if logger is None:
        print_log(text)
    else:
        logger.warning(text)


def _save_to_state_dict(module: nn.Module, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Put a module's own parameters and buffers, also those that are not persistent, into ``destination``."""
    for table in (module._parameters, module._buffers):
        for name, value in table.items():
            if value is not None:
                destination[prefix + name] = value if keep_vars else value.detach()


def get_state_dict(module: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False) -> Any:
    """The parameters and buffers of ``module``; of module wrappers, also deep inside, what they wrap."""

    def save(one: Any, destination: Any, prefix: str) -> None:
        _save_to_state_dict(one, destination, prefix, keep_vars)

    return collected_state(module, destination, prefix, save, is_module_wrapper)


def save_checkpoint(
    model: nn.Module,
    filename: str,
    optimizer: Optimizer | dict[str, Optimizer] | None = None,
    meta: dict[str, Any] | None = None,
    file_client_args: dict[str, Any] | None = None,
) -> None:
    """Write ``meta``, ``state_dict`` and ``optimizer`` to a file: the old one or the whole new one is there, at every
    moment. Names with a prefix, such as ``s3://``, go to the storage of that prefix."""
    write_checkpoint(checkpoint_tree(model, optimizer, meta), filename, file_client_args)


def checkpoint_tree(model: Any, optimizer: Any, meta: dict[str, Any] | None) -> dict[str, Any]:
    """What a checkpoint holds."""
    meta = {} if meta is None else meta
    if not isinstance(meta, dict):
        raise TypeError(f"meta must be a dict or None, but got {meta!r} of {type(meta)}")
    meta.update(mmcv_version=__version__, time=time.asctime())
    if is_module_wrapper(model):
        model = model.module
    if getattr(model, "CLASSES", None) is not None:
        meta.update(CLASSES=model.CLASSES)
    tree: dict[str, Any] = {"meta": meta, "state_dict": weights_to_cpu(get_state_dict(model))}
    if isinstance(optimizer, Optimizer):
        tree["optimizer"] = optimizer.state_dict()
    elif isinstance(optimizer, dict):
        tree["optimizer"] = {name: one.state_dict() for name, one in optimizer.items()}
    return tree


def write_checkpoint(tree: dict[str, Any], filename: str, file_client_args: dict[str, Any] | None = None) -> None:
    """Write a tree that :func:`checkpoint_tree` made."""
    tree["meta"], dropped = plain_items(tree["meta"])
    if dropped:
        MMLogger.get_current_instance().warning(
            "of meta, %s stay out of %s: a checkpoint holds tensors and plain data only, so that reading it runs no "
            "code. Save text or numbers in their place",
            ", ".join(dropped),
            filename,
        )
    if filename.startswith("pavi://"):
        if file_client_args is not None:
            raise ValueError(f'file_client_args must be None for a name with "pavi://", but got {file_client_args}')
        upload_to_pavi(tree, filename[len("pavi://") :])
        return
    client = FileClient.infer_client(file_client_args, filename)
    if isinstance(client.client, HardDiskBackend):
        os.makedirs(os.path.dirname(os.path.abspath(filename)), exist_ok=True)
        write_file(filename, tree)
        return
    with io.BytesIO() as buffer:
        save_plain(plain_tree(filename, tree), buffer)
        client.put(buffer.getvalue(), filename)


def point_latest(folder: str, filename: str) -> None:
    """Make ``latest.pth`` of ``folder`` that file, at one moment: a link, or a copy where there are no links."""
    latest = os.path.join(folder, LATEST)
    link = temporary(latest)
    try:
        os.symlink(filename, link)
    except OSError:
        with open(os.path.join(folder, filename), "rb") as source:
            publish(latest, lambda file: shutil.copyfileobj(source, file))
    else:
        os.replace(link, latest)
        fsync_dir(Path(folder))  # older checkpoints are deleted next
