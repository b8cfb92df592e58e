"""What the tests share that check, through ``import mmcv``, what MMCV 1.7.2 promises of its runners.

Each of them runs twice: on the face of ours, and (marker ``mmcv1``) on MMCV 1.7.2 itself, where it is installed.
"""

import contextlib
import importlib
import logging
import sys
import time
import types
import warnings
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

_peer_modules: dict[str, types.ModuleType] = {}


@contextlib.contextmanager
def face_installed():
    """``import mmcv`` finds ours, and is as before afterwards."""
    import trainwright.compat.mmcv1 as face

    before = set(sys.modules)
    face.install()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those of an installed MMCV, which stays around ours
            import mmcv
            import mmcv.runner
        yield mmcv
    finally:
        face.uninstall()
    left = {name for name in set(sys.modules) - before if name.partition(".")[0] == "mmcv"}
    assert not left, f"modules left behind: {sorted(left)}"


@contextlib.contextmanager
def peer_installed():
    """``import mmcv`` finds MMCV 1.7.2, which does not wait between epochs."""
    before = {name: module for name, module in sys.modules.items() if _is_of_peer(name)}
    vision = types.ModuleType("torchvision")
    vision.__version__ = "0.12.0"
    with mock.patch.object(time, "sleep", return_value=None):
        try:
            sys.modules.update(_peer_modules, torchvision=vision)
            pytest.importorskip("mmcv.runner", exc_type=ImportError)
            import mmcv

            yield mmcv
        finally:
            # What torch has imported meanwhile stays: parts of it cannot be imported twice.
            loaded = {name: module for name, module in sys.modules.items() if _is_of_peer(name)}
            _peer_modules.update({name: module for name, module in loaded.items() if name != "torchvision"})
            for name in loaded:
                del sys.modules[name]
            sys.modules.update(before)


def _is_of_peer(name):
    return name.partition(".")[0] in ("mmcv", "torchvision")


def ones(n_samples=5, width=2, batch_size=1):
    """A loader of rows of ones."""
    return DataLoader(torch.ones((n_samples, width)), batch_size=batch_size)


class Steps(nn.Module):
    """A model with the two methods that a runner calls."""

    def train_step(self, data, optimizer, **kwargs):
        return {"loss": self(data)}

    def val_step(self, data, optimizer=None, **kwargs):
        return {"loss": self(data)}


class TwoParts(Steps):
    """A linear layer that is used, and a convolution that is not."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.conv = nn.Conv2d(3, 3, 3)

    def forward(self, x):
        return self.linear(x)


def bare_runner(work_dir, kind="EpochBasedRunner", *, max_epochs=1, max_iters=None, several=False, model=None):
    """A runner without hooks, whose optimizer is one or two of SGD."""
    model = model or TwoParts()
    if several:
        optimizer = {
            "first": torch.optim.SGD(model.linear.parameters(), lr=0.02, momentum=0.95),
            "second": torch.optim.SGD(model.conv.parameters(), lr=0.01, momentum=0.9),
        }
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.95)
    return importlib.import_module("mmcv.runner").build_runner(
        {"type": kind},
        default_args={
            "model": model,
            "work_dir": str(work_dir),
            "optimizer": optimizer,
            "logger": logging.getLogger("mmcv1_suite"),
            "max_epochs": max_epochs,
            "max_iters": max_iters,
        },
    )


def demo_runner(work_dir, kind="EpochBasedRunner", **settings):
    """As above, with a checkpoint hook and a text logger."""
    runner = bare_runner(work_dir, kind, **settings)
    runner.register_checkpoint_hook({"interval": 1})
    runner.register_logger_hooks({"interval": 1, "hooks": [{"type": "TextLoggerHook"}]})
    return runner


@contextlib.contextmanager
def packages(*names):
    """Mocks in the place of packages that are not installed."""
    with mock.patch.dict(sys.modules, {name: mock.MagicMock() for name in names}):
        yield [sys.modules[name] for name in names]
