"""Trainings that draw random numbers wherever they can, and note every step."""

from __future__ import annotations

import logging

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from trainwright.compat.mmcv1.runner.hooks import Hook

LOGGER = logging.getLogger("mmcv1 noisy runs")


class Noise(Dataset):
    """Samples that are another one each time they are read."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.rand(3) + index


class Net(nn.Module):
    """One weight matrix behind a dropout; ``steps`` are the phases and losses so far."""

    def __init__(self):
        super().__init__()
        self.drop, self.layer = nn.Dropout(0.5), nn.Linear(3, 1)
        self.steps = []

    def _step(self, data):
        loss = self.layer(self.drop(data)).pow(2).mean()
        self.steps.append((self.training, loss.item()))
        return {"loss": loss, "log_vars": {"loss": loss.detach()}, "num_samples": len(data)}

    def train_step(self, data, optimizer):
        return self._step(data)

    def val_step(self, data, optimizer=None):
        return self._step(data)


class Step(Hook):
    """An optimizer's step."""

    def after_train_iter(self, runner):
        runner.optimizer.zero_grad()
        runner.outputs["loss"].backward()
        runner.optimizer.step()


class Draws(Hook):
    """Draws at every stage at which a run that goes on is not to draw once more."""

    def before_iter(self, runner):
        torch.rand(1)

    def after_iter(self, runner):
        torch.rand(1)

    def before_train_epoch(self, runner):
        torch.rand(1)


class SaveEach(Hook):
    """A checkpoint after each iteration and each epoch of training; ``done[name]`` are the steps before it."""

    def __init__(self, folder):
        self.folder, self.done = folder, {}

    def _save(self, runner, name):
        self.done[name] = len(runner.model.steps)
        runner.save_checkpoint(str(self.folder), filename_tmpl=name, create_symlink=False)

    def after_train_iter(self, runner):
        self._save(runner, f"inside_{runner.iter + 1}.pth")

    def after_train_epoch(self, runner):
        self._save(runner, f"end_{runner.epoch + 1}.pth")


def loader(seed=None, **settings):
    """Six samples in batches of two, shuffled by a generator of its own, or by the global stream."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return DataLoader(Noise(), batch_size=2, shuffle=True, generator=generator, **settings)


def made(kind, *hooks, seed=0, net=Net, **settings):
    """A runner with a model of that seed and hooks that step and draw."""
    torch.manual_seed(seed)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    runner = kind(model, optimizer=optimizer, logger=LOGGER, **settings)
    for hook in (Step(), Draws(), *hooks):
        runner.register_hook(hook)
    return runner


def end_of(runner):
    """What a run has come to."""
    return {name: value.clone() for name, value in runner.model.state_dict().items()}
