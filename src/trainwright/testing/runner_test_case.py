"""A test case that has configs of a small task, and builds runners from them."""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any, ClassVar
from unittest import TestCase
from uuid import uuid4

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from trainwright.base.logs import MMLogger
from trainwright.config import Config
from trainwright.dist import cleanup, is_distributed
from trainwright.evaluation import BaseMetric
from trainwright.model import BaseModel
from trainwright.registry import DATASETS, METRICS, MODELS, DefaultScope
from trainwright.runner import Runner
from trainwright.state import MessageHub
from trainwright.visualization import Visualizer


class ToyModel(BaseModel):
    """Two linear layers from 2 to 1; the loss is the sum of what the targets are more."""

    def __init__(self, data_preprocessor: Any = None) -> None:
        super().__init__(data_preprocessor=data_preprocessor)
        self.linear1 = nn.Linear(2, 2)
        self.linear2 = nn.Linear(2, 1)

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """Of inputs (N, 2), or N tensors (2,): outputs (N, 1), or with mode "loss" the loss."""
        inputs, data_samples = (torch.stack(x) if isinstance(x, list) else x for x in (inputs, data_samples))
        outputs = self.linear2(self.linear1(inputs))
        return {"loss": (data_samples - outputs).sum()} if mode == "loss" else outputs


class ToyDataset(Dataset[dict[str, Tensor]]):
    """12 points, all with the target 1."""

    METAINFO: ClassVar[dict[str, Any]] = {}
    data = torch.randn(12, 2, generator=torch.Generator().manual_seed(0))
    label = torch.ones(12)

    @property
    def metainfo(self) -> dict[str, Any]:
        """What is known of the whole set: nothing."""
        return self.METAINFO

    def __len__(self) -> int:
        return self.data.size(0)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"inputs": self.data[index], "data_samples": self.label[index]}


class ToyMetric(BaseMetric):
    """An accuracy of 1."""

    def __init__(self, collect_device: str = "cpu", dummy_metrics: Any = None) -> None:
        super().__init__(collect_device=collect_device)
        self.dummy_metrics = dummy_metrics

    def process(self, data_batch: Any, predictions: Any) -> None:
        """One result a batch."""
        self.results.append({"acc": 1})

    def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
        """It is always the same."""
        return {"acc": 1}


_PARTS: tuple[tuple[Any, type], ...] = ((MODELS, ToyModel), (METRICS, ToyMetric), (DATASETS, ToyDataset))


class RunnerTestCase(TestCase):
    """A test case with `epoch_based_cfg` and `iter_based_cfg`, configs of a small task in a folder of their own.

    The task's ToyModel, ToyDataset and ToyMetric are registered while a test runs. After it everything is as before:
    registries, named loggers, visualizers, scopes and message hubs, the process group and its variables.

    A subclass with `setUp` and `tearDown` of its own calls these.
    """

    dist_cfg: ClassVar[dict[str, Any]] = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 29600,
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
    }

    def setUp(self) -> None:
        """Make the folder and the configs, and register the task."""
        self.temp_dir = tempfile.TemporaryDirectory()
        self._puts_back = [_remember_environment(self.dist_cfg)]
        self._puts_back += [_remember_instances(kind) for kind in (MMLogger, Visualizer, DefaultScope, MessageHub)]
        self._puts_back += [_remember_open_hubs(), *(_register(registry, part) for registry, part in _PARTS)]
        self.epoch_based_cfg = Config(_epoch_based(self.temp_dir.name))
        self.iter_based_cfg = copy.deepcopy(self.epoch_based_cfg)
        self.iter_based_cfg.merge_from_dict(
            {
                "train_dataloader.sampler.type": "InfiniteSampler",
                "log_processor": {"by_epoch": False},
                "default_hooks.checkpoint": {"type": "CheckpointHook", "interval": 12, "by_epoch": False},
            }
        )
        self.iter_based_cfg.train_cfg = {"by_epoch": False, "max_iters": 12}

    def tearDown(self) -> None:
        """Put everything back, and delete the folder."""
        cleanup()
        if is_distributed():  # a group of the test's own
            torch.distributed.destroy_process_group()
        for put_back in reversed(self._puts_back):
            put_back()
        self.temp_dir.cleanup()

    def build_runner(self, cfg: Config) -> Runner:
        """A runner of a config, which gets an experiment name of its own."""
        cfg.experiment_name = self.experiment_name
        return Runner.from_cfg(cfg)

    @property
    def experiment_name(self) -> str:
        """A new one each time: runners that are built within a second would share the one by default."""
        return f"{self._testMethodName}_{time.time()} + {uuid4()}"

    def setup_dist_env(self) -> None:
        """Set a launcher's variables for the one process of `dist_cfg`, with a new port each time."""
        self.dist_cfg["MASTER_PORT"] += 1
        os.environ.update({name: str(value) for name, value in self.dist_cfg.items()})

    def clear_work_dir(self) -> None:
        """Close the log files, and empty the folder."""
        for logger in MMLogger._instance_dict.values():
            logger.close_files()
        for entry in os.scandir(self.temp_dir.name):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.remove(entry.path)


def _epoch_based(work_dir: str) -> dict[str, Any]:
    def loader(shuffle: bool) -> dict[str, Any]:
        return {
            "dataset": {"type": "ToyDataset"},
            "sampler": {"type": "DefaultSampler", "shuffle": shuffle},
            "batch_size": 3,
            "num_workers": 0,
        }

    return {
        "work_dir": work_dir,
        "model": {"type": "ToyModel"},
        "train_dataloader": loader(shuffle=True),
        "val_dataloader": loader(shuffle=False),
        "val_evaluator": [{"type": "ToyMetric"}],
        "test_dataloader": loader(shuffle=False),
        "test_evaluator": [{"type": "ToyMetric"}],
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "train_cfg": {"by_epoch": True, "max_epochs": 2, "val_interval": 1},
        "val_cfg": {},
        "test_cfg": {},
        "default_hooks": {"logger": {"type": "LoggerHook", "interval": 1}},
        "custom_hooks": [],
        "env_cfg": {"dist_cfg": {"backend": "nccl"}},
        "experiment_name": "test1",
    }


def _register(registry: Any, part: type) -> Callable[[], None]:
    before = registry.module_dict.get(part.__name__)
    registry.register_module(module=part, force=True)

    def put_back() -> None:
        registry.module_dict.pop(part.__name__, None)
        if before is not None:
            registry.module_dict[part.__name__] = before

    return put_back


def _remember_environment(names: dict[str, Any]) -> Callable[[], None]:
    before = {name: os.environ.get(name) for name in names}

    def put_back() -> None:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    return put_back


def _remember_instances(kind: Any) -> Callable[[], None]:
    before = dict(kind._instance_dict)

    def put_back() -> None:
        for name, instance in list(kind._instance_dict.items()):
            if before.get(name) is not instance and hasattr(instance, "close"):
                instance.close()
        kind._instance_dict.clear()
        kind._instance_dict.update(before)

    return put_back


def _remember_open_hubs() -> Callable[[], None]:
    """Of runs that are under way; one that failed leaves its hub there."""
    before = list(MessageHub._active)

    def put_back() -> None:
        MessageHub._active[:] = before

    return put_back
