"""Exact statistics of batch normalisation, in place of running averages."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import nn

from trainwright.base.errors import DataError
from trainwright.dist import get_world_size, is_main_process
from trainwright.engine.passes import without_streams
from trainwright.trainer.events import EventStorage
from trainwright.trainer.feed import EndlessBatches
from trainwright.trainer.hook_base import HookBase

_BN_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def get_bn_modules(model: nn.Module) -> list[Any]:
    """The BatchNorm layers of ``model`` that are in training mode and keep statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, _BN_TYPES) and module.training and module.track_running_stats
    ]


class _Statistics:
    """Mean and variance ``(C,)`` of all values that one layer has seen, from those of its batches."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.mean = torch.zeros_like(layer.running_mean)
        self.mean_of_squares = torch.zeros_like(layer.running_var)
        self.n_values = 0  # a channel
        self.n_new = 0  # in the batch under way
        self.hook = layer.register_forward_pre_hook(self._meet)

    def _meet(self, layer: Any, inputs: Any) -> None:
        if self.n_new:
            raise DataError(
                "update_bn_stats: a BatchNorm layer is called twice in one forward, so that its statistics cannot be "
                "told apart. Give each place in the model a layer of its own, or put this one in eval mode."
            )
        # What SyncBatchNorm computes is of the batches of all its ranks.
        n_ranks = get_world_size(layer.process_group) if isinstance(layer, nn.SyncBatchNorm) else 1
        self.n_new = n_ranks * (inputs[0].numel() // inputs[0].shape[1])

    def add(self) -> None:
        """Count the batch that the layer has just seen, if it has."""
        n = self.n_new
        if not n:
            return
        self.n_values += n
        self.n_new = 0
        mean, variance = self.layer.running_mean, self.layer.running_var  # of this batch, as momentum is 1
        squares = mean.square() + variance * ((n - 1) / n)  # running_var is the unbiased one
        share = n / self.n_values
        self.mean += (mean - self.mean) * share
        self.mean_of_squares += (squares - self.mean_of_squares) * share

    def put(self) -> None:
        """Make them the layer's own."""
        if self.n_values:
            self.layer.running_mean.copy_(self.mean)
            self.layer.running_var.copy_(self.mean_of_squares - self.mean.square())


@torch.no_grad()
def update_bn_stats(model: nn.Module, data_loader: Iterable[Any], num_iters: int = 200) -> None:
    """Set the statistics of all BatchNorm layers in training mode to those of ``num_iters`` batches, under the present
    weights (https://arxiv.org/abs/2105.07576, section 3; API of fvcore).

    ``model(batch)`` is called for each batch. A layer that no batch reaches keeps its statistics. Fewer batches than
    ``num_iters`` are a DataError; the statistics are then as before.
    """
    layers = get_bn_modules(model)
    if not layers:
        return
    before = [(layer.momentum, layer.running_mean.clone(), layer.running_var.clone()) for layer in layers]
    found = [_Statistics(layer) for layer in layers]
    done = False
    try:
        for layer in layers:
            layer.momentum = 1.0
        n_batches = 0
        for batch in islice(data_loader, num_iters):
            model(batch)
            n_batches += 1
            for one in found:
                one.add()
        if n_batches < num_iters:
            raise DataError(
                f"update_bn_stats is to use {num_iters} batches, but data ended after {n_batches}. Lower num_iters "
                "or give a loader that goes on for longer."
            )
        done = True
    finally:
        for layer, one, (momentum, mean, variance) in zip(layers, found, before, strict=True):
            one.hook.remove()
            layer.momentum = momentum
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
            if done:
                one.put()


class PreciseBN(HookBase):
    """Has the BatchNorm layers of ``model`` know the statistics of ``num_iter`` batches of ``data_loader`` under the
    present weights, every ``period`` iterations and after the last one (:func:`update_bn_stats`).

    Register it before what evaluates and saves. A model without such layers in training mode is left alone. A loader
    that ends begins again.
    """

    logger_name: ClassVar[str] = "trainwright.trainer"

    def __init__(self, period: int, model: nn.Module, data_loader: Iterable[Any], num_iter: int) -> None:
        self._logger = logging.getLogger(self.logger_name)
        self._disabled = not get_bn_modules(model)
        if self._disabled:
            self._logger.info("PreciseBN has nothing to do: the model has no BatchNorm layers in training mode.")
        self._model = model
        self._batches = EndlessBatches(data_loader)
        self._num_iter = num_iter
        self._period = period

    def after_step(self) -> None:
        """Update, when it is time."""
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or (self._period > 0 and done % self._period == 0):
            self.update_stats()

    def update_stats(self) -> None:
        """Set the statistics, now."""
        if self._disabled:
            return
        self._logger.info(f"PreciseBN: statistics of {self._num_iter} batches; other batches would give others.")
        with EventStorage():  # what the model puts meanwhile is no training
            update_bn_stats(self._model, self._batches, self._num_iter)

    def state_dict(self) -> dict[str, Any]:
        """The place in the data."""
        return {} if self._disabled else {"data": self._batches.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        if self._disabled or "data" not in state_dict:
            return
        place = state_dict["data"]  # rank 0's
        self._batches.load_state_dict(place if is_main_process() else without_streams(place))
