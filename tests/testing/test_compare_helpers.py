"""Comparisons beyond MMEngine's; the room itself; RunnerTestCase beside parts of a user's own."""

import os
import unittest

import numpy as np
import pytest
import torch

import trainwright.testing
from trainwright.base.logs import MMLogger
from trainwright.dist import is_distributed
from trainwright.registry import MODELS
from trainwright.testing import RunnerTestCase, assert_dict_contains_subset, toys


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_shapes_that_do_not_fit_are_a_difference(kind):
    assert not assert_dict_contains_subset({"x": kind([1, 2, 3])}, {"x": kind([1, 2])})
    assert not assert_dict_contains_subset({"x": kind([[1], [2]])}, {"x": kind([[1, 2], [2, 1], [0, 0]])})
    assert assert_dict_contains_subset({"x": kind([1, 2])}, {"x": kind([1, 2])})


def test_the_room_names_what_it_has():
    with pytest.raises(AttributeError, match="no attribute 'compere'; it has MultiProcessTestCase, RunnerTestCase"):
        trainwright.testing.compere  # noqa: B018
    assert "assert_allclose" in dir(trainwright.testing)


class Case(RunnerTestCase):
    __test__ = False  # run by a test below

    def test_in_a_process_group(self):
        self.setup_dist_env()
        self.epoch_based_cfg.launcher = "pytorch"
        runner = self.build_runner(self.epoch_based_cfg)
        runner.train()
        assert is_distributed()
        assert runner.distributed

    def test_in_a_group_of_its_own(self):
        self.setup_dist_env()
        torch.distributed.init_process_group("gloo", f"file://{self.temp_dir.name}/store", rank=0, world_size=1)

    def test_fails(self):
        self.build_runner(self.iter_based_cfg)
        raise ValueError("of the test")


def launchers_variables():
    return {name: os.environ.get(name) for name in RunnerTestCase.dist_cfg}


@pytest.mark.parametrize("name", ["test_in_a_process_group", "test_in_a_group_of_its_own", "test_fails"])
def test_everything_is_as_before(name, monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "as it was")
    loggers, environment = dict(MMLogger._instance_dict), launchers_variables()
    assert MODELS.module_dict["ToyModel"] is toys.ToyModel  # registered when that module is imported
    result = unittest.TestResult()
    Case(name).run(result)
    assert MODELS.module_dict["ToyModel"] is toys.ToyModel
    assert [text.splitlines()[-1] for _, text in result.errors + result.failures] == (
        ["ValueError: of the test"] if name == "test_fails" else []
    )
    assert not is_distributed()
    assert launchers_variables() == environment
    assert dict(MMLogger._instance_dict) == loggers
