"""Torch's first FullyShardedDataParallel, with the steps of a model. FSDPStrategy needs no wrapper."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import (
    BackwardPrefetch,
    CPUOffload,
    FullyShardedDataParallel,
    MixedPrecision,
    ShardingStrategy,
)

from trainwright.base.errors import ConfigTypeError
from trainwright.base.text import did_you_mean
from trainwright.model.wrappers import run_forward
from trainwright.registry import FUNCTIONS, MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class MMFullyShardedDataParallel(FullyShardedDataParallel):
    """``FullyShardedDataParallel`` with settings that a config can hold (API of mmengine's class of that name).

    `sharding_strategy` and `backward_prefetch` may be names of torch's choices, `cpu_offload` a bool; `mixed_precision`
    a dict with names of types; `auto_wrap_policy` and `param_init_fn` names in the registry FUNCTIONS, or dicts with
    such a `type` and arguments; `ignored_modules` and `ignored_parameters` names in the model. All steps go through
    the wrapper's forward.
    """

    def __init__(
        self,
        module: nn.Module,
        process_group: Any = None,
        sharding_strategy: str | ShardingStrategy | None = None,
        cpu_offload: bool | CPUOffload | None = None,
        auto_wrap_policy: str | dict[str, Any] | Callable[..., Any] | None = None,
        backward_prefetch: str | BackwardPrefetch | None = None,
        mixed_precision: dict[str, Any] | MixedPrecision | None = None,
        param_init_fn: str | dict[str, Any] | Callable[[nn.Module], None] | None = None,
        use_orig_params: bool = True,
        **kwargs: Any,
    ) -> None:
        if isinstance(cpu_offload, bool):
            cpu_offload = CPUOffload(offload_params=cpu_offload)
        if isinstance(mixed_precision, dict):
            settings: dict[str, Any] = dict(mixed_precision)
            types = {name: _dtype(value) for name, value in settings.items() if name.endswith("_dtype")}
            mixed_precision = MixedPrecision(**{**settings, **types})
        for name, of in (
            ("ignored_parameters", module.named_parameters),
            ("ignored_modules", module.named_modules),
        ):
            if kwargs.get(name) is not None:
                kwargs[name] = _parts(name, kwargs[name], dict(of()))
        super().__init__(
            module=module,
            process_group=process_group,
            sharding_strategy=_choice("sharding_strategy", sharding_strategy, ShardingStrategy),
            cpu_offload=_of_type("cpu_offload", cpu_offload, CPUOffload),
            auto_wrap_policy=_function("auto_wrap_policy", auto_wrap_policy),
            backward_prefetch=_choice("backward_prefetch", backward_prefetch, BackwardPrefetch),
            mixed_precision=_of_type("mixed_precision", mixed_precision, MixedPrecision),
            param_init_fn=_function("param_init_fn", param_init_fn),
            use_orig_params=use_orig_params,
            **kwargs,
        )

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """One optimisation step on this rank's batch; this rank's loss terms, and their sum 'loss'."""
        model: Any = self.module
        with optim_wrapper.optim_context(self):
            losses = self._run_forward(model.data_preprocessor(data, training=True), mode="loss")
        total, log_vars = model.parse_losses(losses)
        optim_wrapper.update_params(total)
        return log_vars  # type: ignore[no-any-return]

    def val_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        model: Any = self.module
        return self._run_forward(model.data_preprocessor(data, False), mode="predict")

    def test_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.val_step(data)

    def _run_forward(self, data: Any, mode: str) -> Any:
        return run_forward(self, data, mode)


def _choice(setting: str, value: Any, choices: type[Enum]) -> Any:
    if isinstance(value, str):
        names = [choice.name for choice in choices]
        if value not in names:
            raise ConfigTypeError(
                f"{setting} must be one of {', '.join(names)}, got {value!r}.{did_you_mean(value, names)}"
            )
        return choices[value]
    return _of_type(setting, value, choices)


def _of_type(setting: str, value: Any, kind: type) -> Any:
    if value is not None and not isinstance(value, kind):
        raise ConfigTypeError(f"{setting} must be None or what a {kind.__name__} can be made of, got {value!r}.")
    return value


def _function(setting: str, value: Any) -> Any:
    """The function of that name, with the arguments that the dict has."""
    arguments = dict(value) if isinstance(value, dict) else {}
    function = arguments.pop("type", None) if isinstance(value, dict) else value
    if isinstance(function, str):
        found = FUNCTIONS.get(function)
        if found is None:
            raise ConfigTypeError(f"{setting} names {function!r}, which is not registered in FUNCTIONS.")
        function = found
    if function is not None and not callable(function):
        raise ConfigTypeError(f"{setting} must be a function, its name in FUNCTIONS or a dict with one, got {value!r}.")
    return partial(function, **arguments) if arguments else function


def _dtype(value: Any) -> torch.dtype | None:
    found = getattr(torch, value, None) if isinstance(value, str) else value
    if value is not None and not isinstance(found, torch.dtype):
        raise ConfigTypeError(f"a type of mixed_precision must be a torch.dtype or the name of one, got {value!r}.")
    return found


def _parts(setting: str, value: Iterable[Any], known: dict[str, Any]) -> list[Any]:
    """Modules or parameters, also by name."""
    missing = [one for one in value if isinstance(one, str) and one not in known]
    if missing:
        raise ConfigTypeError(
            f"{setting} names {missing[0]!r}, which the model has not.{did_you_mean(missing[0], known)}"
        )
    found = [known[one] if isinstance(one, str) else one for one in value]
    kind = nn.Parameter if setting == "ignored_parameters" else nn.Module
    if not all(isinstance(one, kind) for one in found):
        raise ConfigTypeError(f"{setting} must hold names, or each a {kind.__name__}, got {value!r}.")
    return found
