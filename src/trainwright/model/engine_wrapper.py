"""The steps of a model that runs inside a DeepSpeed engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from trainwright.base.errors import ConfigTypeError
from trainwright.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MMDeepSpeedEngineWrapper:
    """A ``deepspeed.DeepSpeedEngine`` with the steps of a model (API of mmengine's MMDeepSpeedEngineWrapper).

    Everything else is looked up at the engine, ``module`` with the user's model too. `inputs_to_half`: names of the
    batch, or places in it, whose floating tensors get the type of the parameters; None is all of them where that type
    is a half one.
    """

    def __init__(self, *, model: Any, inputs_to_half: Sequence[int | str] | None = None) -> None:
        self.model = model
        self._inputs_to_half = inputs_to_half
        types = {parameter.dtype for parameter in model.module.parameters()}
        self._half = next((kind for kind in (torch.bfloat16, torch.float16) if kind in types), None)

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # not set yet
            raise AttributeError(name)
        return getattr(self.model, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The engine's forward."""
        return self.model(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """One optimisation step on this rank's batch; this rank's loss terms, and their sum 'loss'."""
        module = self.model.module
        with optim_wrapper.optim_context(self):
            losses = self._run_forward(self.cast(module.data_preprocessor(data, True)), mode="loss")
        total, log_vars = module.parse_losses(losses)
        optim_wrapper.update_params(total)
        return log_vars  # type: ignore[no-any-return]

    def val_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self._run_forward(self.cast(self.model.module.data_preprocessor(data, False)), mode="predict")

    def test_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.val_step(data)

    def cast(self, inputs: Any) -> Any:
        """The batch with the type of the parameters, where it is to have that."""
        chosen, half = self._inputs_to_half, self._half
        if half is None:
            return inputs
        if isinstance(inputs, dict):
            return {key: _cast(v, half) if chosen is None or key in chosen else v for key, v in inputs.items()}
        if isinstance(inputs, (list, tuple)):
            values = [_cast(v, half) if chosen is None or n in chosen else v for n, v in enumerate(inputs)]
            return type(inputs)(values)
        return inputs

    def _run_forward(self, data: Any, mode: str) -> Any:
        return call_with_batch(self.model, self.model.module, data, mode)


def call_with_batch(forward: Callable[..., Any], model: Any, data: Any, mode: str) -> Any:
    """``forward`` of the batch `data`, for an engine around `model`; ConfigTypeError for one of another kind."""
    if isinstance(data, dict):
        return forward(**data, mode=mode)
    if isinstance(data, (list, tuple)):
        return forward(*data, mode=mode)
    raise ConfigTypeError(
        f"{type(model).__name__}: a batch must be a dict (keyword arguments of forward), a list or a tuple "
        f"(positional arguments), got {type(data).__name__}; change the collate_fn or the data_preprocessor"
    )


def _cast(value: Any, half: torch.dtype) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(half) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _cast(item, half) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(_cast(item, half) for item in value)
    return value
