"""The whole model on every rank, gradients averaged: DistributedDataParallel."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed as torch_dist
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.model import MMDistributedDataParallel, convert_sync_batchnorm
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import MODEL_WRAPPERS, STRATEGIES
from trainwright.strategies.ranks import RanksStrategy
from trainwright.strategies.warm_up import throw_away_step

_SYNC_BN = ("torch", "mmcv")


@STRATEGIES.register_module()
class DDPStrategy(RanksStrategy):
    """The whole model on every rank; gradients are averaged during the backward (API of mmengine's DDPStrategy).

    `model_wrapper` is the config of the wrapper: ``type`` (default MMDistributedDataParallel) and its arguments, such
    as ``find_unused_parameters``, ``broadcast_buffers`` (False here), ``static_graph``, ``bucket_cap_mb``,
    ``detect_anomalous_params``. `sync_bn`: 'torch' or 'mmcv' puts their SyncBatchNorm in place of every batch norm.

    With ``randomness=dict(deterministic=True)`` the first batch is run once before the first step, and thrown away:
    what the wrapper settles in its first backward is then settled in a resumed run too, and it goes on bit for bit.
    """

    def __init__(
        self, *, model_wrapper: dict[str, Any] | None = None, sync_bn: str | None = None, **kwargs: Any
    ) -> None:
        if sync_bn is not None and sync_bn not in _SYNC_BN:
            raise ConfigError(f"sync_bn must be one of {_SYNC_BN}, got {sync_bn!r}.{did_you_mean(sync_bn, _SYNC_BN)}")
        self._wrapper_cfg = dict(model_wrapper or {})
        self._sync_bn = sync_bn
        self._has_warmed_up = self._is_warming_up = False
        super().__init__(**kwargs)
        if os.environ.get("TORCH_DISTRIBUTED_DEBUG") == "DETAIL" and torch_dist.get_backend() == "gloo":
            raise ConfigError(
                "TORCH_DISTRIBUTED_DEBUG=DETAIL makes DistributedDataParallel crash with gloo, without any message: "
                "set it to INFO."
            )

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        model = model.to(self.device)
        if self._sync_bn is not None:
            if self.device.type != "cuda":
                raise ConfigError(
                    f"sync_bn={self._sync_bn!r} needs CUDA: SyncBatchNorm has no form for {self.device.type}. Leave "
                    "sync_bn out; SyncBuffersHook averages the running statistics at least."
                )
            model = convert_sync_batchnorm(model, self._sync_bn)
        cfg = {"type": "MMDistributedDataParallel", "broadcast_buffers": False, **self._wrapper_cfg}
        if self.device.type == "cuda":
            cfg.setdefault("device_ids", [self.device.index])
        self._trainable = _trainable(model)
        self._wrapper_args = {name: value for name, value in cfg.items() if name != "type"}
        return MODEL_WRAPPERS.build(cfg, default_args={"module": model})  # type: ignore[no-any-return]

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module inside the wrapper."""
        model: Any = self.model
        return model.module  # type: ignore[no-any-return]

    def init_model_weights(self) -> None:
        """``init_weights()`` on every rank, then rank 0's result on all."""
        super().init_model_weights()
        self._equalise(self.unwrapped_model)

    def attach_optim_wrapper(self, optim_wrapper: Any) -> BaseOptimWrapper:
        """Build the wrapper for the user's module; inside an accumulation window ranks do not exchange gradients."""
        super().attach_optim_wrapper(optim_wrapper)
        self._connect_optimizers()
        return self.optim_wrapper

    def compile(self, compile: dict[str, Any] | bool) -> None:
        """Compile the user's module, inside the wrapper."""
        if isinstance(compile, dict) and compile.get("target") == "train_step":
            raise ConfigError(
                "compile target 'train_step' has no effect under DDPStrategy, whose wrapper does the step: compile "
                "'forward', the default."
            )
        self.compile_model(self.unwrapped_model, compile)

    def train_step_function(self) -> Callable[[Any], dict[str, torch.Tensor]]:
        """What a span calls for each batch; before the first one of a deterministic run there is a step for nothing."""
        self.trainable_changed()
        step = super().train_step_function()
        if not self.deterministic or self._has_warmed_up:
            return step

        def warmed(data: Any) -> dict[str, torch.Tensor]:
            if not self._has_warmed_up:
                self._warm_up(data)
            return step(data)

        return warmed

    def _warm_up(self, data: Any) -> None:
        self._has_warmed_up = True
        if getattr(type(self.model), "train_step", None) is not MMDistributedDataParallel.train_step:
            self.logger.warning(
                "%s has a train_step of its own, so nobody knows how to run it for nothing: a resumed run may differ "
                "from an unbroken one in the last bits.",
                type(self.model).__name__,
            )
            return
        self._is_warming_up = True
        try:
            for _ in range(2 if self._wrapper_args.get("static_graph") else 1):  # that one settles in two steps
                throw_away_step(self.model, data, self.optim_wrapper)  # type: ignore[arg-type]
        finally:
            self._is_warming_up = False

    def trainable_changed(self) -> None:
        """Make the wrapper anew, in place, when other parameters than before require a gradient: it notes them once."""
        model: Any = self.model
        now = _trainable(model.module)
        if now == self._trainable:
            return
        self._trainable, self._has_warmed_up = now, False
        module, was_training = model.module, model.training
        model._remove_autograd_hooks()
        model.__init__(module=module, **self._wrapper_args)
        model.training = was_training
        self.logger.info("DistributedDataParallel follows the parameters that are trained now: %d", sum(now))

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """Within it a forward leads to gradients that are (``on``) or are not averaged over the ranks."""
        if on or self._is_warming_up:
            return nullcontext()
        model: Any = self.model
        return model.no_sync()  # type: ignore[no-any-return]


def _trainable(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]
