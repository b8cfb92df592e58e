"""How much memory an annotation list costs all processes of a run together: 2 ranks with 4 loader workers each.

One copy is the size of the annotations as bytes. "memory" is the sum of the proportional set sizes (PSS) of all ranks
and workers, after every one has touched every page of the annotations, less the same sum with a handful of annotations.
Exits with status 1 when Trainwright's is more than 1.3 times one copy, or when a rank reads what another has read.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import print_table

ENGINES = ("trainwright", "mmengine")
LIMIT = 1.3
WORKERS = 4


def records(count: int) -> list[dict[str, Any]]:
    """Annotations as detection has them, two objects an image."""
    return [
        {
            "img_path": f"train2017/{n:012d}.jpg",
            "img_id": n,
            "height": 480 + n % 160,
            "width": 640,
            "instances": [
                {"bbox": [n % 97 + 0.5, 12.25, n % 311 + 0.125, 200.75], "bbox_label": n % 80, "ignore_flag": 0},
                {"bbox": [3.5, n % 113 + 0.25, 320.0, n % 401 + 0.5], "bbox_label": n % 71, "ignore_flag": 0},
            ],
        }
        for n in range(count)
    ]


def make_dataset(engine: str, count: int) -> Any:
    """An engine's BaseDataset whose pipeline touches all annotations once in each process."""
    if engine == "mmengine":
        from mmengine.dataset import BaseDataset
    else:
        from trainwright.data import BaseDataset

    class Annotations(BaseDataset):
        n_reads = 0
        touched = 0

        def load_data_list(self) -> list[dict[str, Any]]:
            type(self).n_reads += 1
            return records(count)

        def prepare_data(self, idx: int) -> int:
            if self.touched != os.getpid():
                self.touched = os.getpid()
                self.data_bytes[::1024].sum()
            return len(self.get_data_info(idx)["instances"])

    return Annotations()


def pss(pid: int) -> int:
    """Proportional set size of a process, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/{pid}/smaps_rollup has no line Pss:")


def one_rank(engine: str, count: int) -> dict[str, float]:
    """Build the dataset and its workers, wait for the other rank, measure."""
    from torch import distributed as dist
    from torch.utils.data import DataLoader

    began = time.perf_counter()
    dataset = make_dataset(engine, count)
    seconds = time.perf_counter() - began
    loader = DataLoader(dataset, batch_size=16, num_workers=WORKERS, persistent_workers=True, prefetch_factor=1)
    batches = iter(loader)
    for _ in range(2 * WORKERS):
        next(batches)
    dataset.prepare_data(0)
    dist.barrier()
    workers = [worker.pid for worker in batches._workers]
    found = sum(pss(pid) for pid in [os.getpid(), *workers])
    dist.barrier()
    result = {
        "memory": found,
        "one": dataset.data_bytes.nbytes + dataset.data_address.nbytes,
        "seconds": seconds,
        "n_reads": type(dataset).n_reads,
    }
    del batches, loader, dataset
    gc.collect()
    return result


def measure(engine: str, count: int) -> list[dict[str, float]]:
    """The figures of both ranks, from real processes in a gloo group."""
    from trainwright.testing.ranks import run_ranks

    return run_ranks(2, one_rank, engine, count, timeout_s=600.0)


def run_engine(python: str, engine: str, count: int) -> list[dict[str, float]] | None:
    """``measure`` in a fresh process; None where the engine is not installed."""
    command = [python, __file__, "--engine", engine, "--records", str(count)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        if engine != "trainwright" and "ModuleNotFoundError" in done.stderr:
            return None
        raise RuntimeError(f"{engine} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def report(python: str, count: int) -> bool:
    """Measure every engine and print the table; whether Trainwright keeps its limits."""
    rows, kept = [], True
    for engine in ENGINES:
        empty, full = run_engine(python, engine, 2 * WORKERS * 16), run_engine(python, engine, count)
        if empty is None or full is None:
            continue
        one = full[0]["one"]
        memory = sum(rank["memory"] for rank in full) - sum(rank["memory"] for rank in empty)
        reads = int(sum(rank["n_reads"] for rank in full))
        slowest = max(rank["seconds"] for rank in full)
        figures = [f"{one / 2**20:.0f}", f"{memory / 2**20:.0f}", f"{memory / one:.2f}", f"{slowest:.1f}", str(reads)]
        rows.append([engine, *figures])
        if engine == "trainwright":
            kept = memory <= LIMIT * one and reads == 1
    print(f"{count:,} annotations, 2 ranks x {WORKERS} workers")
    print_table(["engine", "one copy MiB", "memory MiB", "copies", "s to read", "reads"], rows)
    return kept


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="interpreter that has mmengine installed")
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        print(json.dumps(measure(options.engine, options.records)))
        return 0
    return 0 if report(options.python, options.records) else 1


if __name__ == "__main__":
    sys.exit(main())
