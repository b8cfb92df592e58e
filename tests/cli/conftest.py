import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainwright.cli.app import run

CONFIG = """
custom_imports = dict(imports=["trainwright.testing.toys", "slow_parts.py"])
model = dict(type="ToyModel", dropout=0.2)
train_dataloader = dict(
    dataset=dict(type="SlowPoints", size=32, noise=0.2, delay_s=0.0),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    batch_size=4,
)
val_dataloader = dict(
    dataset=dict(type="ToyDataset", size=8),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    batch_size=4,
)
test_dataloader = val_dataloader
val_evaluator = dict(type="Accuracy")
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9))
param_scheduler = dict(type="CosineAnnealingLR", T_max=2, end=2)
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=2),
    checkpoint=dict(type="CheckpointHook", interval=1, save_best="auto"),
)
randomness = dict(seed=0)
"""
PARTS = """
import sys
import time
from trainwright.registry import DATASETS
from trainwright.testing.toys import ToyDataset

@DATASETS.register_module(force=True)
class SlowPoints(ToyDataset):
    def __init__(self, delay_s, **kwargs):
        super().__init__(**kwargs)
        self.delay_s = delay_s

    def __getitem__(self, index):
        if self.delay_s > 1:
            print("reading", file=sys.stderr, flush=True)
        time.sleep(self.delay_s)
        return super().__getitem__(index)
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a config and its parts, which is the working folder."""
    (tmp_path / "toy.py").write_text(CONFIG)
    (tmp_path / "slow_parts.py").write_text(PARTS)
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name == "slow_parts":
            del sys.modules[name]


@pytest.fixture
def command(project, monkeypatch, capsys):
    """A function that runs a command line in this process: (exit code, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["trainwright", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


@pytest.fixture
def start(project):
    """A function that starts the command in a process of its own."""
    started = []
    program = Path(sys.executable).parent
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{program}{os.pathsep}{os.environ['PATH']}"}

    def call(*words, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env, **options}
        process = subprocess.Popen([str(word) for word in words], cwd=project, **options)
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
