import logging
from types import SimpleNamespace

import pytest
import torch

from trainwright.engine import EpochBasedTrainLoop, HookTable, IterBasedTrainLoop, ValLoop
from trainwright.state import Completing, RunContext
from trainwright.testing.recorder import EventRecorder


class CountingModel:
    """Knows its mode, and keeps what its steps were given as (mode, batch)."""

    def __init__(self):
        self.mode, self.steps = None, []

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "eval"

    def step(self, batch, **kwargs):
        self.steps.append((self.mode, batch))
        return [batch]


class LastEvaluator:
    """Its metric is the number of batches; keeps the sizes it was asked with."""

    def __init__(self):
        self.batches, self.sizes = [], []

    def process(self, data_samples, data_batch):
        self.batches.append(data_batch)

    def evaluate(self, size):
        self.sizes.append(size)
        n, self.batches = len(self.batches), []
        return {"n": float(n)}


class TinyRunner:
    """What the loops need of a front door, and no more."""

    def __init__(self, *hooks):
        self.ctx = RunContext("tiny", HookTable(self))
        self.recorder = EventRecorder()
        for hook in (*hooks, self.recorder):
            self.ctx.hooks.add(hook)
        self.model = CountingModel()
        self.optim_wrapper = None
        self.logger = logging.getLogger("tiny")
        self.visualizer = SimpleNamespace()
        self.val_loop = self.train_loop = None
        step = self.model.step
        self.strategy = SimpleNamespace(
            train_step_function=lambda: step,
            val_step=step,
            test_step=step,
            batches=iter,
            keyed=True,
            device=torch.device("cpu"),
        )

    @property
    def epoch(self):
        return self.ctx.clock.epoch

    @property
    def iter(self):
        return self.ctx.clock.iter

    @property
    def max_epochs(self):
        return self.ctx.clock.max_epochs

    @property
    def max_iters(self):
        return self.ctx.clock.max_iters

    def call_hook(self, name, **kwargs):
        if name == "after_train_iter":
            self.ctx.clock.completing = Completing.ITERATION
        elif name == "after_train_epoch":
            self.ctx.clock.completing = Completing.EPOCH
        self.ctx.hooks.fire_named(name, **kwargs)

    def with_val(self, batches):
        self.val_loop = ValLoop(self, batches, LastEvaluator())
        return self

    def train_epochs(self, batches, cls=EpochBasedTrainLoop, **cfg):
        self.train_loop = cls(self, batches, **cfg)
        self.train_loop.run()
        return self

    def train_iters(self, batches, cls=IterBasedTrainLoop, **cfg):
        return self.train_epochs(batches, cls, **cfg)

    @property
    def trained_on(self):
        """The batches of training steps, in order."""
        return [batch for mode, batch in self.model.steps if mode == "train"]


@pytest.fixture
def tiny():
    """The class TinyRunner: ``tiny(*hooks)``."""
    return TinyRunner


@pytest.fixture
def evaluator():
    return LastEvaluator()
