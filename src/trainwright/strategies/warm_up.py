"""A step that leaves nothing behind, for what only the first step of a process does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainwright.engine.loops.losses import with_own_containers
from trainwright.model import MMDistributedDataParallel
from trainwright.state import rng


def throw_away_step(model: MMDistributedDataParallel, data: Any, optim_wrapper: Any) -> None:
    """Forward and backward on a batch. Gradients, buffers, random streams and counts of losses are as before.

    DDP sorts its buckets anew after the first backward, and with another order of summation come other bits: after
    this both a run from the beginning and a resumed one have sorted theirs.
    """
    module = model.module
    with leaving_nothing(module):
        with optim_wrapper.optim_context(model):
            inputs = module.data_preprocessor(with_own_containers(data), True)
            losses = model._run_forward(inputs, mode="loss")
        module.parse_losses(losses)[0].backward()


@contextmanager
def leaving_nothing(module: nn.Module) -> Iterator[None]:
    """Around a forward and a backward of ``module``, after which gradients, buffers and random streams are as before;
    within it there is no gradient yet."""
    buffers = [
        (owner._buffers, name, value, value.clone())
        for owner in module.modules()
        for name, value in owner._buffers.items()
        if value is not None
    ]
    gradients = [(parameter, parameter.grad) for parameter in module.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    with rng.set_aside():
        yield
    with torch.no_grad():
        for table, name, value, before in buffers:
            table[name] = value.copy_(before)
    for parameter, gradient in gradients:
        parameter.grad = gradient
