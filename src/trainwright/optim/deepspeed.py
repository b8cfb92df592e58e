"""Updates of the parameters by a DeepSpeed engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainwright.base.errors import ConfigError
from trainwright.optim.wrapper import NOTHING, OptimWrapper
from trainwright.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class DeepSpeedOptimWrapper(OptimWrapper):
    """Backward and step by the engine that :class:`DeepSpeedStrategy` makes (API of mmengine's DeepSpeedOptimWrapper).

    ``accumulative_counts`` and ``clip_grad`` are those of :class:`OptimWrapper`: the strategy's
    ``gradient_accumulation_steps`` and ``gradient_clipping`` say the same. Losses are divided here, so that a short
    window at the end of a run counts in full, and the engine is told which loss is the last of a window.

    Above ZeRO stage 0 the engine clips, by the 2-norm; it computes the norm in any case, on the host.
    """

    def __init__(
        self, optimizer: Optimizer, accumulative_counts: int = 1, clip_grad: dict[str, Any] | None = None
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self._engine: Any = None
        self._engine_clips = False
        self._n_held = 0  # losses whose gradients wait for a step

    @property
    def model(self) -> Any:
        """The engine; ConfigError before there is one."""
        if self._engine is None:
            raise ConfigError(
                "DeepSpeedOptimWrapper has no engine yet: DeepSpeedStrategy makes it when training begins, and no "
                "other strategy does."
            )
        return self._engine

    @model.setter
    def model(self, engine: Any) -> None:
        self._engine = engine
        self._engine_clips = engine.zero_optimization_stage() > 0

    @property
    def max_norm(self) -> float:
        """What the engine clips the norm to, 0 for no clipping."""
        options = self.clip_grad_kwargs or {}
        return float(options.get("max_norm", 0.0))

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Add the gradients of an already scaled loss, and count it. The last loss of a window is followed by the
        exchange between ranks."""
        engine = self.model
        engine.set_gradient_accumulation_boundary(self.should_sync())
        engine.backward(loss, scale_wrt_gas=False, **kwargs)
        self._inner_count += 1
        self._n_held += 1

    def step(self, **kwargs: Any) -> None:
        """Clip and step; gradients are dropped with it."""
        if self.clip_grad_kwargs and not self._engine_clips:
            self._clip_grad()
        self.model.step(**kwargs)
        self._n_held = 0
        if self._engine_clips and self.clip_grad_kwargs:
            self._report(self.model.get_global_grad_norm())

    def skip_loss(self) -> None:
        """Count a loss that is left out, as one whose gradient is zero. ConfigError above ZeRO stage 0 where it ends an
        accumulation window: there the engine steps only after the backward of a last loss."""
        self._inner_count += 1
        if not (self.should_update() and self._n_held):
            return
        if self._engine_clips:
            raise ConfigError(
                "the last loss of an accumulation window cannot be left out from ZeRO stage 1 on: use stage 0, or "
                "accumulative_counts=1."
            )
        self.model.set_gradient_accumulation_boundary(True)
        self.model.allreduce_gradients()
        self.step()

    @property
    def holds_in_engine(self) -> bool:
        """Whether gradients of an open window lie in buffers of the engine."""
        return self._engine_clips and self._n_held > 0

    def zero_grad(self, **kwargs: Any) -> None:
        """Nothing: the engine drops gradients in its step."""

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Nothing to enter: the engine is told in :meth:`backward`."""
        return NOTHING

    def gradients_held(self) -> list[Tensor]:
        """Those that lie at the parameters; above stage 0 the engine has them in buffers of its own."""
        return [] if self._engine_clips else super().gradients_held()

    def gradient_scale(self) -> float:
        """The engine's loss scale."""
        return 1.0 if self._engine is None else float(getattr(self._engine.optimizer, "loss_scale", 1.0) or 1.0)

    def _report(self, norm: Any) -> None:
        if norm is None:  # of a step that overflowed
            return
        value = norm.detach() if isinstance(norm, Tensor) else torch.tensor(float(norm))
        if self.on_grad_norm is not None:
            self.on_grad_norm(value)
        else:
            self.message_hub.update_scalar("train/grad_norm", value)
