"""Mixed precision by NVIDIA's apex, where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from trainwright.base.optional import require
from trainwright.optim.wrapper import OptimWrapper
from trainwright.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS

_INSTALL = "the source, see https://github.com/NVIDIA/apex ('apex' on PyPI is another package); or use AmpOptimWrapper"


@OPTIM_WRAPPERS.register_module()
class ApexOptimWrapper(OptimWrapper):
    """An :class:`OptimWrapper` under ``apex.amp``; AmpOptimWrapper does the same with torch alone.

    The arguments up to ``max_loss_scale`` go to ``apex.amp.initialize``, which prepares model and optimizer when
    :meth:`optim_context` is first entered. The others, ``optimizer`` among them, are those of :class:`OptimWrapper`.
    """

    def __init__(
        self,
        opt_level: str = "O1",
        loss_scale: float | str | None = "dynamic",
        enabled: bool | None = True,
        cast_model_type: torch.dtype | None = None,
        patch_torch_functions: bool | None = None,
        keep_batchnorm_fp32: bool | str | None = None,
        master_weights: bool | None = None,
        cast_model_outputs: torch.dtype | None = None,
        num_losses: int = 1,
        verbosity: int = 1,
        min_loss_scale: float | None = None,
        max_loss_scale: float | None = 2.0**24,
        **kwargs: Any,
    ) -> None:
        self._amp: Any = require("apex.amp", None, "ApexOptimWrapper", _INSTALL)
        super().__init__(**kwargs)
        self.opt_level = opt_level
        self.loss_scale = loss_scale
        self.enabled = enabled
        self.cast_model_type = cast_model_type
        self.patch_torch_functions = patch_torch_functions
        self.keep_batchnorm_fp32 = keep_batchnorm_fp32
        self.master_weights = master_weights
        self.cast_model_outputs = cast_model_outputs
        self.num_losses = num_losses
        self.verbosity = verbosity
        self.min_loss_scale = min_loss_scale
        self.max_loss_scale = max_loss_scale
        self._apex_amp_state_dict: dict[str, Any] | None = None

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of the loss as apex scales it, and count it."""
        with self._amp.scale_loss(loss, self.optimizer) as scaled:
            scaled.backward(**kwargs)
        self._inner_count += 1

    def state_dict(self) -> dict[str, Any]:
        """As :meth:`OptimWrapper.state_dict`, and ``apex_amp``."""
        state = super().state_dict()
        state["apex_amp"] = self._amp.state_dict()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load with or without ``apex_amp``, which waits until apex has prepared the optimizer."""
        state = dict(state_dict)
        scales = state.pop("apex_amp", None)
        super().load_state_dict(state)
        if scales is None:
            return
        if self._is_prepared():
            self._amp.load_state_dict(scales)
        else:
            self._apex_amp_state_dict = scales

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of accumulation; before it, once, what apex does to model and optimizer."""
        with super().optim_context(model):
            if not self._is_prepared():
                self._prepare(model)
            yield

    def _is_prepared(self) -> bool:
        return hasattr(self.optimizer, "_amp_stash")  # apex leaves it there

    def _prepare(self, model: nn.Module) -> None:
        wrappers = [DataParallel, DistributedDataParallel, *MODEL_WRAPPERS.module_dict.values()]
        if any(isinstance(model, kind) for kind in wrappers if isinstance(kind, type)):
            model = model.module  # type: ignore[assignment]
        _, self.optimizer = self._amp.initialize(
            model,
            self.optimizer,
            opt_level=self.opt_level,
            loss_scale=self.loss_scale,
            enabled=self.enabled,
            cast_model_type=self.cast_model_type,
            patch_torch_functions=self.patch_torch_functions,
            keep_batchnorm_fp32=self.keep_batchnorm_fp32,
            master_weights=self.master_weights,
            cast_model_outputs=self.cast_model_outputs,
            num_losses=self.num_losses,
            verbosity=self.verbosity,
            min_loss_scale=self.min_loss_scale,
            max_loss_scale=self.max_loss_scale,
        )
        if self._apex_amp_state_dict is not None:
            self._amp.load_state_dict(self._apex_amp_state_dict)
            self._apex_amp_state_dict = None
