"""Files that a config names and that are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainwright.base.errors import CheckpointError, CheckpointNotFoundError
from trainwright.base.lazy import LazyObject
from trainwright.base.text import did_you_mean, near_names
from trainwright.checkpoint import check_checkpoint
from trainwright.config.config_dict import dicts
from trainwright.io import is_url
from trainwright.runner.checks.problem import Problem, Where, warning

_STORAGE = ("backend_args", "file_client_args")


def check_checkpoints(spec: Mapping[str, Any], reach_out: bool = False) -> Iterator[Problem]:
    """`load_from` and `resume`: missing, empty, cut off or foreign. URLs are asked only where `reach_out`."""
    for name in ("load_from", "resume"):
        path = spec[name]
        if not isinstance(path, (str, os.PathLike)) or (is_url(os.fspath(path)) and not reach_out):
            continue
        try:
            check_checkpoint(os.fspath(path))
        except CheckpointError as error:
            hint = ""
            if name == "resume" and near_names(os.fspath(path), ("True", "False"), n=1, cutoff=0.7):
                hint = " To resume from the latest checkpoint of work_dir write resume=True, without quotes."
            kind = CheckpointNotFoundError if isinstance(error, CheckpointNotFoundError) else CheckpointError
            yield Problem((name,), f"{error}{hint}", error=kind)


def check_weights(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Files of `init_cfg=dict(type='Pretrained', checkpoint=...)`, anywhere in the model."""
    for where, cfg in dicts(("model",), spec["model"]):
        path = dict.get(cfg, "checkpoint")
        if _is_pretrained(dict.get(cfg, "type")) and isinstance(path, str) and not is_url(path):
            text = _missing(path, "checkpoint")
            if text:
                yield Problem((*where, "checkpoint"), text, error=CheckpointNotFoundError)


def check_data(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """Folders and annotation files of datasets: warnings, because a dataset may fetch what it lacks."""
    for name in ("train", "val", "test"):
        loaders = spec[f"{name}_dataloader"]
        for where, cfg in dicts((f"{name}_dataloader",), loaders):
            if "type" in cfg and not any(dict.get(cfg, key) for key in _STORAGE):
                yield from _check_dataset(where, cfg)


def _check_dataset(where: Where, cfg: dict[Any, Any]) -> Iterator[Problem]:
    root = dict.get(cfg, "data_root")
    if isinstance(root, str) and root and not is_url(root):
        text = _missing(root, "data_root")
        if text:
            yield warning((*where, "data_root"), text)
            return
    prefix = dict.get(cfg, "data_prefix")
    named: list[tuple[Where, Any]] = [(("ann_file",), dict.get(cfg, "ann_file")), (("data_prefix",), prefix)]
    if isinstance(prefix, dict):
        named += [(("data_prefix", key), value) for key, value in dict.items(prefix)]
    for keys, path in named:
        if isinstance(path, str) and path and not is_url(path):
            full = os.path.join(root, path) if isinstance(root, str) else path
            text = "" if is_url(full) else _missing(full, ".".join(map(str, keys)))
            if text:
                yield warning((*where, *keys), text)


def _is_pretrained(kind: Any) -> bool:
    if isinstance(kind, LazyObject):
        kind = kind.dotted
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.rpartition(".")[2] in ("Pretrained", "PretrainedInit")


def _missing(path: str, what: str) -> str:
    """What is wrong when nothing is at `path`; "" when something is."""
    file = Path(path).expanduser()
    if file.exists():
        return ""
    folder = file.parent
    if not folder.is_dir():
        return f"{what} {path!r} does not exist: its folder {str(folder)!r} is missing."
    names = [entry.name for entry in folder.iterdir()]
    return f"{what} {path!r} does not exist in {str(folder)!r}.{did_you_mean(file.name, names)}"
