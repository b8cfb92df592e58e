"""What checkpoint safety costs, on one gigabyte of state, in ratios to plain torch measured in turns in one process.

    python benchmarks/checkpoint.py [--gib 1.0] [--rounds 5] [--folder DIR]

Rows: a synchronous save over ``torch.save`` + fsync; the stall of the loop in an asynchronous save over a plain copy of
the same memory; a verified load over ``torch.load``. Each round times all of them, one after the other, in an order
that turns; a ratio is the median over the rounds. The files lie on the disk of --folder, in the page cache when read.
A save writes a file that is not there, as a training does; what the round before wrote goes before the clock starts, so
that each of them gets memory for the page cache which the machine has used before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainwright.checkpoint import read_file, write_file
from trainwright.checkpoint.async_save import AsyncSaver, Job
from trainwright.checkpoint.folder import read_folder, write_folder

N_LAYERS = 16


def make_state(n_bytes: int) -> dict[str, Any]:
    """Weights and two moments of as many bytes together, as of Adam."""
    width = n_bytes // (3 * N_LAYERS * 4)

    def layer() -> torch.Tensor:
        return torch.randn(width)

    return {
        "meta": {"iter": 1, "epoch": 1},
        "state_dict": {f"layer{n}.weight": layer() for n in range(N_LAYERS)},
        "optimizer": {"state": {n: {"exp_avg": layer(), "exp_avg_sq": layer()} for n in range(N_LAYERS)}},
    }


def tensors_of(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [tensor for item in tree.values() for tensor in tensors_of(item)] if isinstance(tree, dict) else []


def plain_save(path: Path, state: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def copy_of(state: Any) -> Callable[[], None]:
    """Copies all of it into memory that is there."""
    pairs = [(torch.empty_like(tensor), tensor) for tensor in tensors_of(state)]

    def copy() -> None:
        for target, tensor in pairs:
            target.copy_(tensor)

    return copy


def save_beside(saver: AsyncSaver, path: Path, state: dict[str, Any]) -> Callable[[], bool]:
    """What a training waits for; returns what waits for the rest."""
    tree = saver.snapshot(str(path), state, saver.copies())
    saver.begin(Job(str(path), lambda: write_file(path, tree)))
    return saver.settle


def actions(folder: Path, state: dict[str, Any]) -> dict[str, tuple[Callable[[], Any], Path | None]]:
    """What is timed, and the file or folder that it writes."""
    saver, beside = AsyncSaver(), folder / "beside.pth"
    plain, ours, step = folder / "plain.pth", folder / "ours.pth", folder / "step"
    return {
        "torch.save + fsync": (lambda: plain_save(plain, state), plain),
        "save, one file": (lambda: write_file(ours, state), ours),
        "save, step folder": (lambda: write_folder(step, state), step),
        "memory copy": (copy_of(state), None),
        "stall of an asynchronous save": (lambda: save_beside(saver, beside, state), beside),
        "torch.load": (lambda: torch.load(plain, weights_only=True), None),
        "verified load, one file": (lambda: read_file(ours), None),
        "verified load, step folder": (lambda: read_folder(step), None),
    }


def timed(action: Callable[[], Any], writes: Path | None = None) -> float:
    if writes is not None and writes.is_dir():
        shutil.rmtree(writes)
    elif writes is not None:
        writes.unlink(missing_ok=True)
    os.sync()  # what others wrote is none of this action's time
    began = time.perf_counter()
    rest = action()
    seconds = time.perf_counter() - began
    if callable(rest):
        rest()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    state = make_state(int(options.gib * 2**30))
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        todo = actions(Path(name), state)
        for action, writes in todo.values():
            timed(action, writes)  # files and allocator are warm
        for at in range(options.rounds):
            names = list(todo)
            for one in names[: at % 3][::-1] + names[at % 3 :]:  # loads need the files of their round's saves
                seconds.setdefault(one, []).append(timed(*todo[one]))
    base = {"save": "torch.save + fsync", "stall": "memory copy", "verified": "torch.load"}
    print(f"{options.gib:g} GiB of state, {options.rounds} rounds, {torch.get_num_threads()} threads")
    for one, own in seconds.items():
        reference = base.get(one.partition(" ")[0].rstrip(","))
        ratio = ""
        if reference is not None:
            ratios = [mine / plain for mine, plain in zip(own, seconds[reference], strict=True)]
            ratio = f"{statistics.median(ratios):6.2f} x {reference}"
        print(f"{one:30s} {statistics.median(own):7.3f} s  {ratio}")


if __name__ == "__main__":
    main()
