"""What the tests of MMEngine's schedules share: one model, its optimizers, and values step by step."""

import torch
from torch import nn

LR, MULT = 0.05, 10


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 1, 1)
        self.conv2 = nn.Conv2d(1, 1, 1)


def groups(**second):
    model = Two()
    return [{"params": model.conv1.parameters()}, {"params": model.conv2.parameters(), **second}]


def sgd(wrapped=False):
    """Two groups, the second one with ten times the learning rate; in an OptimWrapper or not."""
    return _wrapped(torch.optim.SGD(groups(lr=LR * MULT), lr=LR, momentum=0.01, weight_decay=5e-4), wrapped)


def sgd_of_momenta(wrapped=False):
    return _wrapped(torch.optim.SGD(groups(momentum=LR * MULT), lr=0.01, momentum=LR), wrapped)


def adam_of_betas(wrapped=False):
    return _wrapped(torch.optim.Adam(groups(betas=(LR * MULT, 0.999)), lr=0.01, betas=(LR, 0.999)), wrapped)


def _wrapped(optimizer, wrapped):
    from mmengine.optim import OptimWrapper

    return OptimWrapper(optimizer=optimizer) if wrapped else optimizer


def assert_values(optimizer, schedulers, single, name="lr", steps=None, kwargs=None, scaled=True):
    """The values of both groups at each step are `single`, and that for the second group's own initial value."""
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    targets = single if isinstance(single[0], list) else [single, [x * (MULT if scaled else 1) for x in single]]
    for step in range(len(targets[0]) if steps is None else steps):
        found = [float(group[name]) for group in optimizer.param_groups][:2]
        expected = [float(target[step]) for target in targets]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        for number, scheduler in enumerate(schedulers):
            scheduler.step(**(kwargs[number] if kwargs else {}))
