"""mmengine.testing.RunnerTestCase: it builds runners, and cleans up."""

import os
import unittest

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


def outcome(case, *names):
    """Run methods of a test case; what failed, as text."""
    result = unittest.TestResult()
    for name in names:
        case(name).run(result)
    assert result.testsRun == len(names)
    return [text for _, text in [*result.failures, *result.errors]]


def test_a_runner_by_epochs_and_one_by_iterations():
    from mmengine.testing import RunnerTestCase

    seen = []

    class Case(RunnerTestCase):
        def test_epochs(self):
            runner = self.build_runner(self.epoch_based_cfg)
            runner.train()
            seen.append((runner.epoch, runner.iter, sorted(name for name in os.listdir(runner.work_dir))))

        def test_iters(self):
            runner = self.build_runner(self.iter_based_cfg)
            runner.train()
            runner.test()
            seen.append((runner.iter, os.path.exists(os.path.join(self.temp_dir.name, "iter_12.pth"))))
            self.clear_work_dir()
            assert os.listdir(self.temp_dir.name) == []
            seen.append(self.temp_dir.name)

        def test_names(self):
            first, second = self.build_runner(self.epoch_based_cfg), self.build_runner(self.epoch_based_cfg)
            assert first.experiment_name != second.experiment_name
            assert first.experiment_name.startswith("test_names_")

    assert outcome(Case, "test_epochs", "test_iters", "test_names") == []
    (epoch, n_iters, files), (iters, is_saved), folder = seen
    assert (epoch, n_iters, iters, is_saved) == (2, 8, 12, True)
    assert {"epoch_1.pth", "epoch_2.pth"} <= set(files)
    assert not os.path.exists(folder)


def test_what_the_configs_hold():
    from mmengine.config import Config
    from mmengine.testing import RunnerTestCase

    class Case(RunnerTestCase):
        def test_cfgs(self):
            epochs, iters = self.epoch_based_cfg, self.iter_based_cfg
            assert isinstance(epochs, Config)
            assert isinstance(iters, Config)
            assert epochs.work_dir == self.temp_dir.name
            assert epochs.train_cfg == {"by_epoch": True, "max_epochs": 2, "val_interval": 1}
            assert epochs.train_dataloader == {
                "dataset": {"type": "ToyDataset"},
                "sampler": {"type": "DefaultSampler", "shuffle": True},
                "batch_size": 3,
                "num_workers": 0,
            }
            assert iters.train_dataloader.sampler == {"type": "InfiniteSampler", "shuffle": True}
            assert iters.train_cfg == {"by_epoch": False, "max_iters": 12}
            assert iters.log_processor == {"by_epoch": False}
            assert iters.default_hooks == {
                "logger": {"type": "LoggerHook", "interval": 1},
                "checkpoint": {"type": "CheckpointHook", "interval": 12, "by_epoch": False},
            }
            assert epochs.default_hooks == {"logger": {"type": "LoggerHook", "interval": 1}}
            rest = {"model": {"type": "ToyModel"}, "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}}}
            rest.update(val_cfg={}, test_cfg={}, custom_hooks=[], val_evaluator=[{"type": "ToyMetric"}])
            for cfg in (epochs, iters):
                assert {name: cfg[name] for name in rest} == rest

    assert outcome(Case, "test_cfgs") == []


def test_the_task_is_registered_while_a_test_runs():
    from mmengine.registry import DATASETS, METRICS, MODELS
    from mmengine.testing import RunnerTestCase
    from mmengine.testing.runner_test_case import ToyDataset, ToyMetric, ToyModel

    class Case(RunnerTestCase):
        def test_registered(self):
            assert MODELS.get("ToyModel") is ToyModel
            assert METRICS.get("ToyMetric") is ToyMetric
            assert DATASETS.get("ToyDataset") is ToyDataset

    assert outcome(Case, "test_registered") == []
    assert METRICS.module_dict.get("ToyMetric") is not ToyMetric
    assert MODELS.module_dict.get("ToyModel") is not ToyModel


def test_named_things_are_gone():
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.testing import RunnerTestCase
    from mmengine.visualization import Visualizer

    made = []

    class Case(RunnerTestCase):
        def test_made(self):
            made.append(self.build_runner(self.epoch_based_cfg).experiment_name)

    assert outcome(Case, "test_made") == []
    for kind in (MMLogger, MessageHub, Visualizer):
        assert not kind.check_instance_created(made[0])


def test_a_launchers_variables(monkeypatch):
    from mmengine.testing import RunnerTestCase

    names = ("MASTER_PORT", "MASTER_ADDR", "RANK", "WORLD_SIZE", "LOCAL_RANK")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    ports = []

    class Case(RunnerTestCase):
        def test_set(self):
            self.setup_dist_env()
            assert [os.environ[name] for name in names[1:]] == ["127.0.0.1", "0", "1", "0"]
            ports.append(int(os.environ["MASTER_PORT"]))

    assert outcome(Case, "test_set", "test_set") == []
    assert ports[1] == ports[0] + 1
    for name in names:
        os.environ.pop(name, None)
