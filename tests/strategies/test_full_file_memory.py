"""How much memory a rank needs to save a model that is divided over the ranks as a single file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL_MIB = 192
PROGRAM = """
import json, sys
from pathlib import Path
from torch import nn
from trainwright.model import BaseModel
from trainwright.strategies import FSDPStrategy

class Wide(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1024, 1024, bias=False) for _ in range(48))  # 4 MiB each

    def forward(self, inputs, mode="tensor"):
        return inputs

def mib(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key + ":"))

folder = Path(sys.argv[1])
strategy = FSDPStrategy(work_dir=folder, wrap=["Linear"])
strategy.prepare(Wide())
Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
before = mib("VmRSS")
strategy.save_checkpoint(str(folder / "whole.pth"))
(folder / f"rank_{strategy.rank}.json").write_text(json.dumps(mib("VmHWM") - before))
"""


@pytest.mark.conformance
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read, and reset, in /proc")
def test_a_single_file_is_saved_without_a_rank_having_twice_the_model(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    settings = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}  # memory that is let go goes back at once
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(program), str(tmp_path)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "whole.pth").stat().st_size > MODEL_MIB * 2**20
    first, second = (json.loads((tmp_path / f"rank_{rank}.json").read_text()) for rank in range(2))
    assert 0.75 * MODEL_MIB < first < 1.25 * MODEL_MIB  # all of it, beside the half that is its own
    assert second < 0.25 * MODEL_MIB
