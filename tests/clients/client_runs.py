"""Runs of clients' scripts, with MMEngine itself and with Trainwright through the face, and what they leave."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

HERE = Path(__file__).resolve().parent
CONFIGS = HERE / "configs"
ENGINES = ("mmengine", "trainwright")
SETTINGS = {
    "PYTHONPATH": str(HERE),  # where stopping.py is
    "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}
OF_TIME = ("time", "data_time", "memory", "eta")

needs_clients = [
    pytest.mark.client,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("mmengine", "mmpretrain", "mmseg", "mmdet")),
        reason="needs the clients: make clients",
    ),
]


def root_of(package: str) -> Path:
    """Where a client is installed."""
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def tool(package: str, name: str) -> Path:
    """A script of the client's own, as its wheel has it."""
    return root_of(package) / ".mim" / "tools" / name


def run(engine: str, script: Path, *arguments: object, folder: Path, status: int = 0) -> str:
    """Run a script; gives what it has said. MMEngine 0.10.7 cannot read its own checkpoints by torch's default."""
    face = ["-m", "trainwright.compat", "mmengine", "--"] if engine == "trainwright" else []
    command = [sys.executable, "-W", "ignore", *face, str(script), *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "TRAINWRIGHT_FACES")}
    if engine == "mmengine":
        kept["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **SETTINGS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == status, f"{engine}: exit status {done.returncode}\n{done.stdout[-6000:]}"
    return done.stdout


def scalars(work_dir: Path, n_run: int = -1) -> list[dict[str, float]]:
    """The log lines of a run in a work directory, the newest unless said, without what the clock says.

    Of a line of validation the metrics alone: at which iteration it was is ours to say; MMEngine's step may be 0.
    """
    folders = sorted(path.parent for path in work_dir.glob("*/vis_data/scalars.json"))
    lines = (folders[n_run] / "scalars.json").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    left_out = [OF_TIME if "lr" in record else (*OF_TIME, "iter", "step") for record in records]
    pairs = zip(records, left_out, strict=True)
    return [{k: v for k, v in record.items() if k not in names} for record, names in pairs]


def same_scalars(found: list[dict[str, float]], expected: list[dict[str, float]]) -> int:
    """Line by line the same names with the same numbers to 1e-6; gives how many numbers those are."""
    assert [sorted(line) for line in found] == [sorted(line) for line in expected]
    for one, other in zip(found, expected, strict=True):
        for key, value in other.items():
            assert one[key] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), (key, one, other)
    return sum(len(line) for line in expected)


def saved(path: Path) -> dict:
    """A checkpoint, MMEngine's own too, which has objects in it: these tests have made it."""
    return torch.load(path, map_location="cpu", weights_only=False)


def same_tree(found: Any, expected: Any, at: str = "") -> int:
    """What MMEngine has in a tree of state is in ours too, numbers and tensors to 1e-6; gives how many of them."""
    if isinstance(expected, Mapping):
        assert set(expected) <= set(found), at
        return sum(same_tree(found[key], value, f"{at}.{key}") for key, value in expected.items())
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), at
        pairs = zip(found, expected, strict=True)
        return sum(same_tree(one, other, f"{at}[{n}]") for n, (one, other) in enumerate(pairs))
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6, msg=lambda text: f"{at}: {text}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6), at
    else:
        assert found == expected, at
    return 1


def same_training(found: Path, expected: Path) -> int:
    """Two checkpoints of a training have the same in them: all but what says when and where it was made."""
    ours, theirs = saved(found), saved(expected)
    parts = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")
    count = sum(same_tree(ours[part], theirs[part], part) for part in parts if part in theirs)
    names = {"epoch", "iter", "seed", "dataset_meta"} & set(theirs["meta"])
    count += sum(same_tree(ours["meta"][name], theirs["meta"][name], f"meta.{name}") for name in sorted(names))
    infos = theirs["message_hub"]["runtime_info"]
    clocks = [name for name in ("epoch", "iter", "max_epochs", "max_iters", "best_score") if name in infos]
    same_tree(ours["message_hub"]["runtime_info"], {name: infos[name] for name in clocks}, "runtime_info")
    return count
