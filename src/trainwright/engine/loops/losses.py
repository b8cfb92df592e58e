"""The losses of an evaluation: means over its samples and all ranks, read from the device once, at the end."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from trainwright.base.errors import ConfigError
from trainwright.dist import all_gather_object, data_group


class LossMeter:
    """Sums of loss terms, weighted by the samples they are means of, on their device."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, terms: Mapping[str, Any], n_samples: int) -> None:
        """The terms of a batch, each a mean over `n_samples`; with none of these only the names are noted."""
        for name, value in terms.items():
            term = torch.as_tensor(value).detach()
            term = term.float() if term.device.type == "mps" else term.double()
            self._counts[name] = self._counts.get(name, 0) + n_samples
            # Not weighted by 0: a loss over repeated samples alone may be NaN or infinite.
            term = term * n_samples if n_samples else torch.zeros_like(term)
            self._sums[name] = self._sums[name] + term if name in self._sums else term

    def means(self) -> dict[str, float]:
        """The mean of each term over the samples of all ranks, which all call this. One host read."""
        sums = torch.stack([value.reshape(()) for value in self._sums.values()]).tolist() if self._sums else []
        own = {name: (total, self._counts[name]) for name, total in zip(self._sums, sums, strict=True)}
        merged: dict[str, tuple[float, int]] = {}
        for part in all_gather_object(own, data_group()):
            for name, (total, count) in part.items():
                before = merged.get(name, (0.0, 0))
                merged[name] = (before[0] + total, before[1] + count)
        return {name: total / count for name, (total, count) in merged.items() if count}


def with_own_containers(batch: Any) -> Any:
    """The batch with dicts, lists and tuples of its own and the same tensors: what is put into the one is not in the
    other. Preprocessors and models do that, and a second forward would find the batch preprocessed already.
    """
    if type(batch) is dict:
        return {key: with_own_containers(value) for key, value in batch.items()}
    return type(batch)(map(with_own_containers, batch)) if type(batch) in (list, tuple) else batch


def take_losses(outputs: Any) -> tuple[Any, dict[str, Any] | None]:
    """Predictions, and the losses that a model put behind them: a last data element with the one field ``loss``."""
    if not isinstance(outputs, (list, tuple)) or not outputs:
        return outputs, None
    last = outputs[-1]
    is_element = hasattr(last, "to_dict") and hasattr(last, "keys") and not isinstance(last, Mapping)
    if not is_element or list(last.keys()) != ["loss"]:
        return outputs, None
    return outputs[:-1], dict(last.loss)


def require_loss_mode(model: Any, setting: str) -> None:
    """Refuse a model, or the class of one, whose losses nobody can ask for."""
    kind: Any = model if isinstance(model, type) else type(model)
    knob = f"Derive it from trainwright.model.BaseModel, or leave out {setting}."
    for name in ("_run_forward", "parse_losses"):
        if not hasattr(model, name):
            text = f"{setting} asks for losses, and {kind.__name__} has no {name}, through which they come."
            raise ConfigError(f"{text} {knob}")
    parameters = inspect.signature(kind.forward).parameters
    if "mode" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise ConfigError(
            f"{setting} asks for losses, and forward() of {kind.__name__} takes no mode, so there is none called "
            f"'loss'. Return a dict of losses for mode='loss', or leave out {setting}."
        )
