"""Optimizers whose state is shared out, and when gradients are exchanged, in processes as MMEngine starts them."""

import os
import subprocess
import sys

import pytest
from mme_suite import IS_INSTALLED

needs_peer = pytest.mark.skipif(not IS_INSTALLED, reason="needs MMEngine: make peers")

CASES = """
from unittest.mock import MagicMock

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD

from mmengine.dist import all_gather
from mmengine.model import BaseDataPreprocessor, BaseModel, MMDistributedDataParallel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.testing._internal import MultiProcessTestCase
from mmengine.testing.runner_test_case import ToyModel


class Model(BaseModel):
    def __init__(self):
        super().__init__(data_preprocessor=BaseDataPreprocessor())
        self.conv1 = nn.Conv2d(1, 1, 1)

    def forward(self, inputs, data_sample=None, mode="tensor"):
        x = self.conv1(inputs)
        return {"loss": x.sum()} if mode == "loss" else x


class TestRanks(MultiProcessTestCase):
    def setUp(self):
        super().setUp()
        self._spawn_processes()

    def join(self):
        at = f"file://{self.file_name}"
        torch.distributed.init_process_group("gloo", at, rank=self.rank, world_size=self.world_size)

    def test_zero(self):
        self.join()
        model = ToyModel()
        optimizer = dict(type="ZeroRedundancyOptimizer", optimizer_type="SGD", lr=0.01, weight_decay=1e-4, momentum=0.9)
        built = build_optim_wrapper(model, dict(optimizer=optimizer)).optimizer
        self.assertIsInstance(built.optim, SGD)
        self.assertEqual(built.defaults["lr"], 0.01)
        self.assertEqual(built.defaults["momentum"], 0.9)
        self.assertEqual(built.defaults["weight_decay"], 1e-4)
        self.assertEqual(len(built.param_groups[0]["params"]), len(list(model.parameters())))
        paramwise_cfg = dict(custom_keys={"linear1": dict(lr_mult=0.5)})
        grouped = build_optim_wrapper(model, dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg)).optimizer
        self.assertEqual(grouped.param_groups[0]["lr"], 0.005)
        with self.assertRaises(TypeError):
            build_optim_wrapper(model, dict(optimizer=dict(type="ZeroRedundancyOptimizer", lr=0.01)))
        state = built.state_dict()
        self.assertEqual(bool(state), self.rank == 0)

    def test_context(self):
        self.join()
        model = DistributedDataParallel(nn.Conv1d(1, 1, 1))
        inputs = torch.ones(1, 1, 1) * (self.rank + 1)

        def same_after(wrapper):
            model.zero_grad()
            with wrapper.optim_context(model):
                wrapper.backward(model(inputs).sum())
            one, two = all_gather(model.module.weight.grad)
            return torch.equal(one, two)

        optimizer = SGD(model.parameters(), lr=0.01)
        self.assertTrue(same_after(OptimWrapper(optimizer)))
        wrapper = OptimWrapper(optimizer, accumulative_counts=3)
        self.assertEqual([same_after(wrapper) for _ in range(4)], [False, False, True, False])
        wrapper.initialize_count_status(model, 0, 4)
        self.assertEqual([same_after(wrapper) for _ in range(4)], [False, False, True, True])

    def test_wrapped(self):
        self.join()
        model = MMDistributedDataParallel(module=Model())
        data = dict(inputs=torch.randn(1, 1, 1, 1) * self.rank * 255, data_sample=MagicMock())
        wrapper = OptimWrapper(SGD(model.parameters(), lr=0), accumulative_counts=3)
        for n in range(3):
            loss = model.train_step(data, optim_wrapper=wrapper)["loss"]
            grad = model.module.conv1.weight.grad
            self.assertEqual(grad is None or not grad.any(), n == 2 or self.rank == 0)
        self.assertEqual(loss.dtype, torch.float32)
        self.assertIsInstance(model.val_step(data), torch.Tensor)
        self.assertIsInstance(model.test_step(data), torch.Tensor)
        watched = MMDistributedDataParallel(module=Model(), detect_anomalous_params=True)
        watched.train_step(data, optim_wrapper=OptimWrapper(SGD(watched.parameters(), lr=0)))
        self.assertTrue(watched.detect_anomalous_params)
"""


@pytest.mark.conformance
@pytest.mark.parametrize("engine", ["ours", pytest.param("peer", marks=[pytest.mark.peer, needs_peer])])
def test_cases_of_two_ranks(tmp_path, engine):
    """MMEngine says of a test that passed that it was skipped."""
    (tmp_path / "ranks_case.py").write_text(CASES)
    through = ["-m", "trainwright.compat", "mmengine", "--"] if engine == "ours" else []
    done = subprocess.run(
        [sys.executable, *through, "-m", "unittest", "-v", "ranks_case"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == ("OK" if engine == "ours" else "OK (skipped=3)"), done.stderr
