"""mmengine.testing._internal.MultiProcessTestCase, in processes that are started anew."""

import os
import subprocess
import sys

import pytest
from mme_suite import IS_INSTALLED

needs_peer = pytest.mark.skipif(not IS_INSTALLED, reason="needs MMEngine: make peers")

CASES = """
import os

import torch
from torch import distributed as dist

from mmengine.testing._internal import MultiProcessTestCase


class TestRanks(MultiProcessTestCase):
    def setUp(self):
        super().setUp()
        self._spawn_processes()

    def prepare_subprocess(self):
        self.is_prepared = True

    def join(self):
        dist.init_process_group("gloo", f"file://{self.file_name}", rank=self.rank, world_size=2)

    def test_sum(self):
        self.join()
        total = torch.tensor(self.rank + 1)
        dist.all_reduce(total)
        assert total == 3 and self.is_prepared and self.is_master is (self.rank == 0)
        dist.destroy_process_group()

    def test_fails(self):
        self.join()
        if self.rank == 1:
            raise ValueError("rank 1 has had enough")
        dist.barrier()
"""


@pytest.mark.conformance
@pytest.mark.parametrize("engine", ["ours", pytest.param("peer", marks=[pytest.mark.peer, needs_peer])])
def test_it_passes_or_fails_with_its_processes(tmp_path, engine):
    """MMEngine says of a test that passed that it was skipped."""
    (tmp_path / "ranks_case.py").write_text(CASES)
    through = ["-m", "trainwright.compat", "mmengine", "--"] if engine == "ours" else []
    cases = [f"ranks_case.TestRanks.{name}" for name in ("test_sum", "test_fails")]
    done = subprocess.run(
        [sys.executable, *through, "-m", "unittest", "-v", *cases],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    shown = done.stderr
    assert done.returncode == 1
    result = shown.splitlines()[-1]
    assert result == ("FAILED (errors=1)" if engine == "ours" else "FAILED (errors=1, skipped=1)")
    assert "RuntimeError: Process 1 exited with error code 10 and exception:" in shown
    assert "ValueError: rank 1 has had enough" in shown
