"""The model contract: a forward with modes, and the steps that the loops call."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.model.base_module import BaseModule, InitCfg
from trainwright.model.data_preprocessor import BaseDataPreprocessor
from trainwright.registry import MODELS


class BaseModel(BaseModule):
    """A module with ``train_step``, ``val_step`` and ``test_step``; a subclass writes ``forward``.

    `data_preprocessor`: a module, or a config of the MODELS registry; None is BaseDataPreprocessor. It is called with
    (batch, training) before ``forward``.
    """

    def __init__(self, data_preprocessor: dict[str, Any] | nn.Module | None = None, init_cfg: InitCfg = None) -> None:
        super().__init__(init_cfg)
        if data_preprocessor is None:
            data_preprocessor = BaseDataPreprocessor()
        elif isinstance(data_preprocessor, dict):
            data_preprocessor = MODELS.build(data_preprocessor)
        if not isinstance(data_preprocessor, nn.Module):
            raise ConfigTypeError(
                f"{type(self).__name__}: data_preprocessor should be a dict, an nn.Module or None, got "
                f"{type(data_preprocessor).__name__}: {data_preprocessor!r}"
            )
        self.data_preprocessor = data_preprocessor

    @abstractmethod
    def forward(self, inputs: Any, data_samples: Any = None, mode: str = "tensor") -> Any:
        """`mode` 'loss' returns a dict of losses, 'predict' predictions, 'tensor' the network's output."""

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """One optimisation step on the batch `data`; the loss terms, and their sum 'loss', on the device."""
        # Written out for the hot path: with nothing to enter, the context manager costs more than it says.
        preprocessor: Any = self._modules["data_preprocessor"]
        if getattr(optim_wrapper, "enters_nothing", False):
            has_hooks = preprocessor._forward_hooks or preprocessor._forward_pre_hooks or preprocessor._backward_hooks
            data = preprocessor(data, True) if has_hooks else preprocessor.forward(data, True)
            losses = self._run_forward(data, mode="loss")
        else:
            with optim_wrapper.optim_context(self):
                losses = self._run_forward(preprocessor(data, True), mode="loss")
        total, log_vars = self.parse_losses(losses)
        if not total.requires_grad:
            raise ConfigError(
                f"the loss of {type(self).__name__} does not depend on any parameter that requires a gradient (terms: "
                f"{', '.join(log_vars)}); do not detach it, and leave something to train (requires_grad=True)"
            )
        optim_wrapper.update_params(total)
        return log_vars

    def val_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self._run_forward(self.data_preprocessor(data, False), mode="predict")

    def test_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self._run_forward(self.data_preprocessor(data, False), mode="predict")

    def parse_losses(
        self, losses: dict[str, torch.Tensor | list[torch.Tensor]]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(sum of the terms with 'loss' in their name, that sum as 'loss' followed by every term), all of shape ().

        A term of any other shape counts with its mean, a list with the sum of its means. No host read.
        """
        if not isinstance(losses, dict):
            raise ConfigTypeError(
                f"forward(mode='loss') of {type(self).__name__} must return a dict of losses, got "
                f"{type(losses).__name__}"
            )
        if len(losses) == 1 and "loss" in losses:
            only = losses["loss"]
            if isinstance(only, torch.Tensor) and not only.dim():
                return only, losses  # type: ignore[return-value]
        total: torch.Tensor | None = None
        log_vars: dict[str, torch.Tensor] = {"loss": None}  # type: ignore[dict-item]  # holds the first place
        for name, value in losses.items():
            if isinstance(value, torch.Tensor):
                term = value.mean() if value.dim() else value
            else:
                term = self._sum_of_means(name, value)
            if name != "loss":
                log_vars[name] = term
            if "loss" in name:
                total = term if total is None else total + term
        if total is None:
            raise ConfigError(
                f"forward(mode='loss') of {type(self).__name__} returned no term to minimise: its keys are "
                f"{list(losses)}, and only those with 'loss' in their name are summed; rename one"
            )
        log_vars["loss"] = total
        return total, log_vars

    def _sum_of_means(self, name: str, values: Any) -> torch.Tensor:
        if not isinstance(values, (list, tuple)) or not values or not all(isinstance(v, torch.Tensor) for v in values):
            raise ConfigTypeError(
                f"loss term {name!r} of {type(self).__name__} must be a tensor or a list of tensors, got "
                f"{type(values).__name__}: {values!r}; wrap a number in torch.tensor"
            )
        total: torch.Tensor = values[0].mean()
        for value in values[1:]:
            total = total + value.mean()
        return total

    def _run_forward(self, data: Any, mode: str) -> Any:
        if type(data) is dict or isinstance(data, dict):
            return self(**data, mode=mode)
        if isinstance(data, (list, tuple)):
            return self(*data, mode=mode)
        raise ConfigTypeError(
            f"{type(self).__name__}: a batch must be a dict (keyword arguments of forward), a list or a tuple "
            f"(positional arguments), got {type(data).__name__}; change the collate_fn or the data_preprocessor"
        )
