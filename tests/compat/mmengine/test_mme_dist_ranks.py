"""mmengine.dist in two processes with gloo, in a MultiProcessTestCase as MMEngine's own tests have them."""

import os
import subprocess
import sys

import pytest
from mme_suite import IS_INSTALLED

needs_peer = pytest.mark.skipif(not IS_INSTALLED, reason="needs MMEngine: make peers")

CASES = """
import os
import os.path as osp
import tempfile
from unittest.mock import patch

import torch
from torch import distributed as torch_dist

from mmengine import dist
from mmengine.testing._internal import MultiProcessTestCase


class TestRanks(MultiProcessTestCase):
    def setUp(self):
        super().setUp()
        self._spawn_processes()

    def join(self):
        torch_dist.init_process_group("gloo", f"file://{self.file_name}", rank=self.rank, world_size=self.world_size)
        dist.init_local_group(0, self.world_size)

    def test_all(self):
        self.join()
        for name in sorted(vars(type(self))):
            if name.startswith("check_"):
                getattr(self, name)()
        print("checked", flush=True)  # MMEngine says of a test that passed that it was skipped
        torch_dist.destroy_process_group()

    def on_first(self, value, wanted, otherwise=None):
        assert value == (wanted if self.rank == 0 else otherwise), value

    def check_facts(self):
        assert dist.get_backend() == "gloo"
        assert dist.get_dist_info() == (dist.get_rank(), dist.get_world_size()) == (self.rank, 2)
        assert dist.get_local_rank() == torch_dist.get_rank(dist.get_local_group()) == self.rank
        assert dist.get_local_size() == 2
        assert dist.is_main_process() == (self.rank == 0)
        assert dist.get_comm_device(dist.get_default_group()) == torch.device("cpu")
        self.on_first(dist.master_only(lambda: "ran")(), "ran")

    def check_tensors(self):
        for dtype, op, wanted in ((torch.int64, "sum", [4, 6]), (torch.float32, "mean", [2, 3])):
            data = torch.tensor([1, 2], dtype=dtype) + 2 * self.rank
            dist.all_reduce(data, op)
            assert data.tolist() == wanted
        own = torch.tensor([0, 1]) + self.rank
        assert [one.tolist() for one in dist.all_gather(own)] == [[0, 1], [1, 2]]
        self.on_first([one.tolist() for one in dist.gather(own)], [[0, 1], [1, 2]], [])
        dist.broadcast(own, 0)
        assert own.tolist() == [0, 1]

    def check_dicts_and_parameters(self):
        for dtype, op, wanted in ((torch.int64, "sum", 2), (torch.float32, "mean", 1)):
            data = {name: torch.full((2,), 2 * self.rank, dtype=dtype) for name in ("a", "b")}
            dist.all_reduce_dict(data, op)
            assert all(value.tolist() == [wanted] * 2 for value in data.values())
            for coalesce in (True, False):
                params = [torch.full((2,), 2 * self.rank, dtype=dtype) for _ in range(50)]
                dist.all_reduce_params((one for one in params), coalesce=coalesce, op=op)
                assert all(value.tolist() == [wanted] * 2 for value in params)

    def check_objects(self):
        own = "data" if self.rank == 0 else {1: 2}
        assert dist.all_gather_object(own) == ["data", {1: 2}]
        self.on_first(dist.gather_object(own, dst=0), ["data", {1: 2}])
        data = ["data", 12, {1: 2}] if self.rank == 0 else [None] * 3
        dist.broadcast_object_list(data)
        assert data == ["data", 12, {1: 2}]

    def check_seed(self):
        with patch.object(torch, "tensor", return_value=torch.tensor(1024)) as made:
            assert dist.sync_random_seed() == 1024
        made.assert_called()

    def check_results(self):
        own = ["data", {1: 2}] if self.rank == 0 else [24, {"a": "b"}]
        for device in ("cpu", "gpu"):
            self.on_first(dist.collect_results(own, 4, device=device), ["data", 24, {1: 2}, {"a": "b"}])
            self.on_first(dist.collect_results(own, 3, device=device), ["data", 24, {1: 2}])
        folder = [tempfile.mkdtemp()] if self.rank == 0 else [None]
        dist.broadcast_object_list(folder)
        self.on_first(dist.collect_results(own, 4, device="cpu", tmpdir=folder[0]), ["data", 24, {1: 2}, {"a": "b"}])
        assert self.rank or not osp.exists(folder[0])
"""


@pytest.mark.conformance
@pytest.mark.parametrize("engine", ["ours", pytest.param("peer", marks=[pytest.mark.peer, needs_peer])])
def test_two_ranks(tmp_path, engine):
    (tmp_path / "ranks_case.py").write_text(CASES)
    through = ["-m", "trainwright.compat", "mmengine", "--"] if engine == "ours" else []
    done = subprocess.run(
        [sys.executable, *through, "-m", "unittest", "-v", "ranks_case"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("checked") == 2, done.stderr
    assert "OK" in done.stderr
