"""The whole model on every rank, gradients averaged: DistributedDataParallel."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject
from trainwright.base.text import did_you_mean
from trainwright.model import (
    MMDistributedDataParallel,
    MMSeparateDistributedDataParallel,
    convert_sync_batchnorm,
    is_model_wrapper,
)
from trainwright.optim import BaseOptimWrapper
from trainwright.registry import MODEL_WRAPPERS, STRATEGIES
from trainwright.strategies.comm_hooks import CommHook
from trainwright.strategies.ranks import RanksStrategy
from trainwright.strategies.warm_up import throw_away_step

_SYNC_BN = ("torch", "mmcv")


@STRATEGIES.register_module()
class DDPStrategy(RanksStrategy):
    """The whole model on every rank; gradients are averaged during the backward (API of mmengine's DDPStrategy).

    `model_wrapper` is the config of the wrapper: ``type`` (default MMDistributedDataParallel; for GANs
    MMSeparateDistributedDataParallel) and its arguments, such as ``bucket_cap_mb``. Arguments here too are
    `find_unused_parameters`, `static_graph`, `broadcast_buffers` (False), `detect_anomalous_params`.
    `sync_bn`: 'torch' or 'mmcv' puts their SyncBatchNorm in place of every batch norm. `comm_hook`: what is sent in
    place of plain gradients, see :class:`~trainwright.strategies.comm_hooks.CommHook`.

    With ``randomness=dict(deterministic=True)`` the first batch is run once before the first step, and thrown away:
    what the wrapper settles in its first backward is then settled in a resumed run too, and it goes on bit for bit.
    """

    def __init__(
        self,
        *,
        model_wrapper: dict[str, Any] | None = None,
        sync_bn: str | None = None,
        find_unused_parameters: bool | None = None,
        static_graph: bool | None = None,
        broadcast_buffers: bool | None = None,
        detect_anomalous_params: bool | None = None,
        comm_hook: str | dict[str, Any] | Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if sync_bn is not None and sync_bn not in _SYNC_BN:
            raise ConfigError(f"sync_bn must be one of {_SYNC_BN}, got {sync_bn!r}.{did_you_mean(sync_bn, _SYNC_BN)}")
        own = {
            "find_unused_parameters": find_unused_parameters,
            "static_graph": static_graph,
            "broadcast_buffers": broadcast_buffers,
            "detect_anomalous_params": detect_anomalous_params,
        }
        self._wrapper_cfg = _joined(model_wrapper or {}, own)
        self._sync_bn = sync_bn
        self._has_warmed_up = self._is_warming_up = False
        self._wrapper_args: dict[str, Any] | None = None  # of the wrapper that was made here
        self._inside: Any = None  # the same one's module
        super().__init__(**kwargs)
        if os.environ.get("TORCH_DISTRIBUTED_DEBUG") == "DETAIL" and torch_dist.get_backend() == "gloo":
            raise ConfigError(
                "TORCH_DISTRIBUTED_DEBUG=DETAIL makes DistributedDataParallel crash with gloo, without any message: "
                "set it to INFO."
            )
        self._comm_hook = None if comm_hook is None else CommHook(comm_hook)

    def convert_model(self, model: nn.Module) -> nn.Module:
        """The model with the batch norms that `sync_bn` names."""
        if self._sync_bn is None:
            return model
        if self.device.type != "cuda":
            raise ConfigError(
                f"sync_bn={self._sync_bn!r} needs CUDA: SyncBatchNorm has no form for {self.device.type}. Leave "
                "sync_bn out; SyncBuffersHook averages the running statistics at least."
            )
        return convert_sync_batchnorm(model, self._sync_bn)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if is_model_wrapper(model):
            return self._given_wrapper(model)
        model = self.convert_model(model.to(self.device))
        cfg = {"type": "MMDistributedDataParallel", **self._wrapper_cfg}
        takes = _names_taken(cfg["type"])
        if takes("broadcast_buffers"):
            cfg.setdefault("broadcast_buffers", False)
        if self.device.type == "cuda" and takes("device_ids"):
            cfg.setdefault("device_ids", [self.device.index])
        self._trainable, self._inside = _trainable(model), model
        wrapped: nn.Module = MODEL_WRAPPERS.build(cfg, default_args={"module": model})
        if isinstance(wrapped, DistributedDataParallel):
            self._wrapper_args = {name: value for name, value in cfg.items() if name != "type"}
        self._hook_into(*_single_wrappers(wrapped))
        return wrapped

    def _given_wrapper(self, model: nn.Module) -> nn.Module:
        """A model that came with a wrapper around it: there is nothing to be said of how to wrap it."""
        settings = {**self._wrapper_cfg, "sync_bn": self._sync_bn}
        for name, value in settings.items():
            if value is not None:
                raise ConfigError(
                    f"the model is a {type(model).__name__} already, so {name}={value!r} would have no effect: give "
                    "the model itself, or leave the setting out."
                )
        self._hook_into(*_single_wrappers(model))
        return model

    def _hook_into(self, *wrapped: Any) -> None:
        if self._comm_hook is not None:
            for one in wrapped:
                self._comm_hook.register(one)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module inside the wrapper."""
        model: Any = self.model
        inside: nn.Module = model.module if hasattr(model, "module") else self._inside
        return inside

    def attach_optim_wrapper(self, optim_wrapper: Any) -> BaseOptimWrapper:
        """Build the wrapper for the user's module; inside an accumulation window ranks do not exchange gradients."""
        super().attach_optim_wrapper(optim_wrapper)
        self._connect_optimizers()
        return self.optim_wrapper

    def resume(self, filename: str, **settings: Any) -> dict[str, Any]:
        """As :meth:`BaseStrategy.resume`."""
        if self._comm_hook is not None and self._comm_hook.has_state:
            self.logger.warning(
                "what comm_hook %r remembers of earlier steps is not in a checkpoint: it begins anew",
                self._comm_hook.name,
            )
        return super().resume(filename, **settings)

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
            for _ in range(2 if self._is_static() else 1):  # that one settles in two steps
                throw_away_step(self.model, data, self.optim_wrapper)  # type: ignore[arg-type]
        finally:
            self._is_warming_up = False

    def _is_static(self) -> bool:
        return bool(getattr(self.model, "static_graph", False))

    def trainable_changed(self) -> None:
        """Make the wrapper anew, in place, when other parameters than before require a gradient: it notes them once."""
        model: Any = self.model
        if isinstance(model, MMSeparateDistributedDataParallel):
            self._hook_into(*model.follow_trainable())
            return
        now = _trainable(self.unwrapped_model)
        if self._wrapper_args is None or now == self._trainable:
            return
        self._trainable, self._has_warmed_up = now, False
        module, was_training = model.module, model.training
        model._remove_autograd_hooks()
        model.__init__(module=module, **self._wrapper_args)
        model.training = was_training
        self._hook_into(model)
        self.logger.info("DistributedDataParallel follows the parameters that are trained now: %d", sum(now))

    def grad_sync(self, on: bool) -> AbstractContextManager[Any]:
        """Within it a forward leads to gradients that are (``on``) or are not averaged over the ranks."""
        if on or self._is_warming_up:
            return nullcontext()
        model: Any = self.model
        context: AbstractContextManager[Any] = getattr(model, "no_sync", nullcontext)()
        return context


def _names_taken(kind: Any) -> Callable[[str], bool]:
    """Whether a wrapper has an argument of that name."""
    if isinstance(kind, str):
        with MODEL_WRAPPERS.switch_scope_and_registry(None) as wrappers:
            kind = wrappers.resolve(kind)
    parameters = inspect.signature(kind.build() if isinstance(kind, LazyObject) else kind).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    return lambda name: takes_all or name in parameters


def _trainable(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]


def _single_wrappers(wrapped: nn.Module) -> list[Any]:
    return list(wrapped.parts.values()) if isinstance(wrapped, MMSeparateDistributedDataParallel) else [wrapped]


def _joined(wrapper: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    joined = dict(wrapper)
    for name, value in own.items():
        if value is None:
            continue
        if name in joined and joined[name] != value:
            raise ConfigError(
                f"DDPStrategy has {name}={value!r}, and its model_wrapper {name}={joined[name]!r}: say it once."
            )
        joined[name] = value
    return joined
