"""Reads and dumps the benchmark's chain of configs with one engine, in a process of its own.

    config_worker.py ENGINE SYNTAX REPEATS      prints one JSON object
    config_worker.py ENGINE import-time 1       what importing the engine's config module costs

ENGINE is trainwright or mmengine, SYNTAX text or import.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

STAGES, BLOCKS = 6, 6


def chain(syntax: str) -> dict[str, str]:
    """The files by name. Four levels: parts, their union, an experiment, a variant of it, `leaf.py`."""
    is_text = syntax == "text"
    head = "" if is_text else "from vision.models import Block, Net\nfrom vision.data import Load, Crop, Pack\n\n"

    def kind(name: str) -> str:
        return f"'{name}'" if is_text else name

    def child(own: str, *bases: str) -> str:
        if is_text:
            return f"_base_ = {[f'./{base}.py' for base in bases]}\n{own}"
        lines = "".join(f"    from .{base} import *\n" for base in bases)
        return f"from mmengine.config import read_base\n\nwith read_base():\n{lines}\n{own}"

    def override(key: str, value: str) -> str:
        return f"{key} = {value}\n" if is_text else f"{key}.update({value})\n"

    stages = ",\n".join(f"        {_stage(index, kind('Block'))}" for index in range(STAGES))
    steps = ",\n".join(
        f"    dict(type={kind(name)}, scale=({480 + 32 * index}, 1333), prob=0.{index + 1}, keep=True, seed={index})"
        for index, name in enumerate(["Load", "Crop", "Crop", "Crop", "Crop", "Pack"])
    )
    loader = (
        "dict(batch_size=2, num_workers=2, persistent=True, sampler=dict(type='Default', shuffle={}), dataset=dict("
    )
    loaders = "".join(
        f"{name}_dataloader = {loader.format(name == 'train')}root='data/', ann='{name}.json', pipeline=pipeline))\n"
        for name in ("train", "val", "test")
    )
    hooks = ", ".join(f"hook{index}=dict(type='Hook{index}', interval={index})" for index in range(10))
    schedule = (
        "param_scheduler = [dict(type='LinearLR', begin=0, end=500), dict(type='MultiStepLR', milestones=[8, 11])]\n"
    )
    optimizer = "dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)"
    return {
        "model.py": f"{head}model = dict(type={kind('Net')}, head=dict(n=80), stages=[\n{stages}\n])\n",
        "data.py": f"{head}pipeline = [\n{steps}\n]\n{loaders}",
        "schedule.py": f"{schedule}optim_wrapper = dict(type='OptimWrapper', optimizer={optimizer})\n",
        "runtime.py": f"default_hooks = dict({hooks})\nlog_level = 'INFO'\nresume = False\n",
        "union.py": child("", "model", "data", "schedule", "runtime"),
        "experiment.py": child(override("model", "dict(head=dict(n=20, width=256))") + "epochs = 24\n", "union"),
        "leaf.py": child(_leaf(override), "experiment"),
    }


def _stage(index: int, block: str) -> str:
    blocks = ", ".join(
        f"dict(type={block}, width={64 * (index + 1)}, stride={number % 2 + 1}, norm='BN', act='ReLU', drop=0.{number})"
        for number in range(BLOCKS)
    )
    return f"dict(depth={BLOCKS}, frozen={index == 0}, out='out{index}', blocks=[{blocks}])"


def _leaf(override: Any) -> str:
    rates = ", ".join(f"'stage{index}.norm': dict(decay=0.0, lr=0.{index + 1})" for index in range(81))
    wrapper = override("optim_wrapper", f"dict(optimizer=dict(lr=0.01), custom={{{rates}}})")
    return f"{wrapper}work_dir = 'out/leaf'\nseed = 0\n"


def leaves(value: Any) -> int:
    """How many values the tree has that are no containers."""
    if isinstance(value, dict):
        return sum(map(leaves, value.values()))
    return sum(map(leaves, value)) if isinstance(value, (list, tuple)) else 1


def run_once(config_class: Any, files: dict[str, str], folder: Path) -> tuple[float, float, Any]:
    """Seconds to read and to dump, from files that nobody has read before, and the config."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    start = time.perf_counter()
    cfg = config_class.fromfile(str(folder / "leaf.py"))
    middle = time.perf_counter()
    text = cfg.pretty_text
    end = time.perf_counter()
    assert len(text) > 5000
    return middle - start, end - middle, cfg


def measure(engine: str, syntax: str, repeats: int) -> dict[str, Any]:
    """Medians over the repetitions, the peak of memory in a pass of its own, and what was read."""
    config_class = importlib.import_module(f"{engine}.config").Config
    files = chain(syntax)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        run_once(config_class, files, root / "warm")
        runs = [run_once(config_class, files, root / f"run{number}") for number in range(repeats)]
        tracemalloc.start()
        run_once(config_class, files, root / "memory")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    tree = runs[0][2].to_dict()
    return {
        "engine": engine,
        "read": statistics.median(run[0] for run in runs),
        "dump": statistics.median(run[1] for run in runs),
        "both": statistics.median(run[0] + run[1] for run in runs),
        "peak": peak,
        "leaves": leaves(tree),
        "digest": hashlib.sha256(repr(_ordered(tree)).encode()).hexdigest()[:12],
    }


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((key, _ordered(item)) for key, item in value.items())
    return [_ordered(item) for item in value] if isinstance(value, (list, tuple)) else value


def measure_import(engine: str) -> dict[str, Any]:
    """Seconds that the import takes here and now, and whether it brought torch."""
    start = time.perf_counter()
    importlib.import_module(f"{engine}.config")
    return {"engine": engine, "seconds": time.perf_counter() - start, "torch": "torch" in sys.modules}


if __name__ == "__main__":
    _, name, what, count = sys.argv
    print(json.dumps(measure_import(name) if what == "import-time" else measure(name, what, int(count))))
