"""What a checkpoint is and holds, and whether it is whole; as plain data."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.kinds import DCP, SAFETENSORS, STEP_FOLDER, kind_of, layout_of, read_checkpoint
from trainwright.checkpoint.leaves import n_bytes, tensors_of
from trainwright.checkpoint.manifest import Manifest
from trainwright.checkpoint.weights import weights_of
from trainwright.io.atomic import TMP_PREFIX

_COUNTERS = ("epoch", "iter", "inner_iter")
_FACTS = ("seed", "experiment_name", "time")
_SUFFIXES = (".pth", ".pt", ".pkl", ".safetensors")


class Verdict(NamedTuple):
    """A checkpoint and what is wrong with it; "" when it is whole. ``note`` says what could not be checked."""

    path: str
    problem: str
    note: str = ""


def summary(path: str, trusted: bool = False) -> dict[str, Any]:
    """Kind, step, metrics, sizes by part, types, number of weights and versions of the checkpoint at ``path``."""
    tree = read_checkpoint(path, trusted=trusted)
    meta = tree.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    weights = {name: value for name, value in weights_of(tree).items() if isinstance(value, torch.Tensor)}
    types = Counter(str(leaf.value.dtype)[6:] for leaf in tensors_of(tree))
    found: dict[str, Any] = {
        "path": path,
        "kind": kind_of(path, tree),
        "bytes_on_disk": size_on_disk(path),
        "step": {key: meta[key] for key in _COUNTERS if isinstance(meta.get(key), int)},
        "facts": {key: meta[key] for key in _FACTS if isinstance(meta.get(key), (str, int))},
        "versions": {key: str(value) for key, value in meta.items() if str(key).endswith("_version")},
        "metrics": dict(_metrics(tree)),
        "n_weights": len(weights),
        "n_numbers": sum(value.numel() for value in weights.values()),
        "dtypes": dict(types.most_common()),
        "parts": {
            str(key): {"n_tensors": sum(1 for _ in tensors_of(value)), "n_bytes": n_bytes(value)}
            for key, value in tree.items()
        },
    }
    if layout_of(path) == STEP_FOLDER:
        manifest = Manifest.read(Path(path))
        found["world_size"] = manifest.world_size
        found["versions"] = {**manifest.versions, **found["versions"]}
    return found


def verified(path: str, trusted: bool = False) -> list[Verdict]:
    """A verdict on the checkpoint at ``path``, or on each one in a folder of them."""
    paths = [path] if layout_of(path) or not Path(path).is_dir() else list(_inside(Path(path)))
    if not paths:
        raise CheckpointError(f"no checkpoint lies in {path!r}: looked for {', '.join(_SUFFIXES)} and step folders.")
    return [_verdict(one, trusted) for one in paths]


def size_on_disk(path: str) -> int | None:
    """Bytes of the file, or of all in the folder; None for a URL."""
    file = Path(path)
    if file.is_dir():
        return sum(item.stat().st_size for item in file.rglob("*") if item.is_file())
    return file.stat().st_size if file.is_file() else None


def _verdict(path: str, trusted: bool) -> Verdict:
    try:
        read_checkpoint(path, trusted=trusted)
    except CheckpointError as error:
        return Verdict(path, str(error))
    except OSError as error:
        return Verdict(path, f"{path!r} cannot be read: {error.strerror or error}.")
    has_sums = layout_of(path) not in (SAFETENSORS, DCP) and (Path(path).is_dir() or _is_zip(path))
    return Verdict(path, "", "" if has_sums else "readable; its format has no checksums of all its bytes")


def _inside(folder: Path) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda item: item.name):
        if entry.name.startswith((TMP_PREFIX, ".")):
            continue
        if (entry.is_dir() and layout_of(entry.path)) or (entry.is_file() and entry.name.endswith(_SUFFIXES)):
            yield entry.path


def _is_zip(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"PK"
    except OSError:  # a URL
        return True


def _metrics(tree: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The best metrics as the checkpoint hook kept them, ours and MMEngine's, and the last value of each history."""
    hooks = tree.get("hooks")
    kept = hooks.get("CheckpointHook", {}) if isinstance(hooks, Mapping) else {}
    for best in kept.get("bests", []) if isinstance(kept, Mapping) else []:
        if isinstance(best, Mapping) and isinstance(best.get("score"), float):
            yield f"best {best.get('metric')}", best["score"]
    hub = tree.get("message_hub")
    hub = hub if isinstance(hub, Mapping) else {}
    infos = hub.get("runtime_info")
    for key, value in infos.items() if isinstance(infos, Mapping) else ():
        if str(key).startswith("best_score") and isinstance(value, (int, float)):
            yield str(key), float(value)
    scalars = hub.get("log_scalars")
    for key, history in scalars.items() if isinstance(scalars, Mapping) else ():
        values = history.get("values") if isinstance(history, Mapping) else None
        if isinstance(values, torch.Tensor) and values.numel() and values.dim() == 1:
            yield str(key), float(values[-1])
