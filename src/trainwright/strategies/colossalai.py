"""Training by ColossalAI's Booster, as far as its plugins keep whole weights on every rank."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.optional import require
from trainwright.base.text import did_you_mean
from trainwright.model.engine_wrapper import call_with_batch
from trainwright.optim import BaseOptimWrapper, OptimWrapper
from trainwright.optim.wrapper import NOTHING
from trainwright.registry import MODEL_WRAPPERS, OPTIM_WRAPPERS, OPTIMIZERS, STRATEGIES
from trainwright.strategies.ranks import RanksStrategy

_INSTALL = "pip install colossalai"
_NAMED = {"gemini": "GeminiPlugin", "lowlevel-zero": "LowLevelZeroPlugin"}
_DIVIDING = (*_NAMED.values(), "HybridParallelPlugin", "MoeHybridParallelPlugin", "TorchFSDPPlugin")
_OPTIMIZERS = ("CPUAdam", "FusedAdam", "FusedLAMB", "FusedSGD", "HybridAdam", "Lamb", "Lars")


@OPTIM_WRAPPERS.register_module()
class ColossalAIOptimWrapper(OptimWrapper):
    """An :class:`OptimWrapper` whose backward is the booster's (API of mmengine's ColossalAIOptimWrapper)."""

    def __init__(
        self,
        optimizer: Optimizer,
        booster: Any = None,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.booster = booster
        self.boosted: Any = None  # the optimizer as the booster returned it

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Add the gradients of an already scaled loss, and count it."""
        if self.boosted is None:
            raise ConfigError(
                "ColossalAIOptimWrapper has no booster yet: ColossalAIStrategy boosts it when training begins, and no "
                "other strategy does."
            )
        self.boosted.backward(loss, **kwargs)
        self._inner_count += 1

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        """No gradient is exchanged between ranks before the last loss of a window."""
        if self.booster is None or self.should_sync():
            return NOTHING
        boosted: Any = model
        context: AbstractContextManager[Any] = self.booster.no_sync(boosted.model_wrapper, self.boosted)
        return context


@MODEL_WRAPPERS.register_module(name=["ColossalAIModelWrapper", "CollosalAIModelWrapper"])
class ColossalAIModelWrapper:
    """What the booster returned for `model`, with the steps of a model (API of mmengine's ColossalAIModelWrapper)."""

    def __init__(self, model_wrapper: Any, model: nn.Module) -> None:
        self.model_wrapper = model_wrapper
        self.module = self.model = model

    def __getattr__(self, name: str) -> Any:
        if name in ("model_wrapper", "model", "module"):  # not set yet
            raise AttributeError(name)
        return getattr(self.model if hasattr(self.model, name) else self.model_wrapper, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The boosted forward."""
        return self.model_wrapper(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """One optimisation step on this rank's batch; this rank's loss terms, and their sum 'loss'."""
        model: Any = self.model
        with optim_wrapper.optim_context(self):
            losses = self._run_forward(model.data_preprocessor(data, True), mode="loss")
        total, log_vars = model.parse_losses(losses)
        optim_wrapper.update_params(total)
        return log_vars  # type: ignore[no-any-return]

    def val_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self._run_forward(self.model.data_preprocessor(data, False), mode="predict")  # type: ignore[operator]

    def test_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.val_step(data)

    def _run_forward(self, data: Any, mode: str) -> Any:
        return call_with_batch(self.model_wrapper, self.model, data, mode)


@STRATEGIES.register_module()
class ColossalAIStrategy(RanksStrategy):
    """Training by ColossalAI's Booster (arguments of mmengine's ColossalAIStrategy).

    `plugin`: the name of one of its plugins, a dict with its ``type`` and arguments, or a built one. What runs is
    TorchDDPPlugin. Those that divide weights among ranks, 'gemini' and 'lowlevel-zero' among them, are refused: their
    parts cannot be gathered into the checkpoint of one process here. `mixed_precision` is refused, since its loss scale
    would be unknown to the steps. `model_wrapper`: the config of the wrapper, ColossalAIModelWrapper by default.
    `config` is of older versions of ColossalAI, which took one when a run was launched; it must be empty.
    """

    def __init__(
        self,
        *,
        config: str | dict[str, Any] | None = None,
        mixed_precision: str | dict[str, Any] | None = None,
        plugin: Any = "gemini",
        model_wrapper: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if config:
            raise ConfigError(
                f"ColossalAIStrategy config={config!r}: ColossalAI reads no such config any more; its settings are "
                "arguments of the plugin, plugin=dict(type=..., ...)."
            )
        if mixed_precision is not None:
            raise ConfigError(
                f"ColossalAIStrategy takes no mixed_precision={mixed_precision!r}: clipping, steps and checkpoints "
                "would not know the loss scale of its fp16, and of bf16 and fp8 ColossalAI has no more than the names. "
                "AmpOptimWrapper under DDPStrategy or FSDPStrategy is half precision."
            )
        name = _plugin_name(plugin)
        _check_plugin(name)
        _room("colossalai")
        self._plugin = _built(plugin, name)
        self._model_wrapper = dict(model_wrapper or {})
        _register_optimizers()
        super().__init__(**kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module."""
        model: Any = self.model
        return model.module if isinstance(model, ColossalAIModelWrapper) else model

    def build_optim_wrapper(self, optim_wrapper: Any, model: nn.Module | None = None) -> BaseOptimWrapper:
        """A ColossalAIOptimWrapper, also where the config names no type."""
        if isinstance(optim_wrapper, Mapping):
            optim_wrapper = {"type": "ColossalAIOptimWrapper", **optim_wrapper}
        wrapper = super().build_optim_wrapper(optim_wrapper, model)
        if not isinstance(wrapper, ColossalAIOptimWrapper):
            raise ConfigError(
                f"ColossalAIStrategy needs one ColossalAIOptimWrapper, got {type(wrapper).__name__}: the booster does "
                "the backward. Leave optim_wrapper's type out."
            )
        return wrapper

    def train_step_function(self) -> Callable[[Any], dict[str, torch.Tensor]]:
        """What a span calls for each batch; before the first one model and optimizer are boosted."""
        self._boost()
        return super().train_step_function()

    def _boost(self) -> None:
        if isinstance(self.model, ColossalAIModelWrapper):
            return
        wrapper: Any = self.optim_wrapper
        module = self.model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what ColossalAI asks of torch
            booster = _room("colossalai.booster").Booster(plugin=self._plugin)
            boosted, wrapper.boosted, *_ = booster.boost(module, wrapper.optimizer)
        wrapper.booster = booster
        cfg = {"type": "ColossalAIModelWrapper", **self._model_wrapper}
        self.model = MODEL_WRAPPERS.build(cfg, default_args={"model_wrapper": boosted, "model": module})

    def compile(self, compile: dict[str, Any] | bool) -> None:
        """Compile the user's module, inside what the booster puts around it."""
        if isinstance(compile, dict) and compile.get("target") == "train_step":
            raise ConfigError("compile target 'train_step' has no effect: the wrapper does it. Compile 'forward'.")
        self.compile_model(self.unwrapped_model, compile)

    def check_hooks(self, hooks: Iterable[Any]) -> None:
        """ConfigError for a hook that freezes or thaws while training runs."""
        for hook in hooks:
            if type(hook).__name__ == "FreezeHook" and (hook.begin or hook.end is not None):
                raise ConfigError(
                    "FreezeHook does not work under ColossalAIStrategy here: the booster notes once which parameters "
                    "are trained. Freeze from the beginning on."
                )

    def trainable_changed(self) -> None:
        """The booster has noted which parameters are trained."""
        if isinstance(self.model, ColossalAIModelWrapper):
            raise ConfigError("ColossalAI notes once, before the first step, which parameters are trained.")


def _room(module: str) -> Any:
    return require(module, None, "ColossalAIStrategy", _INSTALL)


def _plugin_name(plugin: Any) -> str:
    if isinstance(plugin, str):
        return _NAMED.get(plugin, plugin)
    if isinstance(plugin, Mapping):
        if not isinstance(plugin.get("type"), str):
            raise ConfigError(f"plugin={dict(plugin)!r} lacks type, the name of one of ColossalAI's plugins.")
        return str(plugin["type"])
    if any(kind.__module__.startswith("colossalai.") for kind in type(plugin).__mro__):
        return type(plugin).__name__
    raise ConfigTypeError(f"plugin must be a name, a dict or one of ColossalAI's plugins, got {plugin!r}.")


def _check_plugin(name: str) -> None:
    if name in _DIVIDING:
        raise ConfigError(
            f"ColossalAIStrategy cannot have the plugin {name}: it divides weights and states among the ranks, and "
            "they cannot be gathered into the checkpoint of one process here. FSDPStrategy, or "
            "DeepSpeedStrategy(zero_optimization=dict(stage=3)), divides them too; plugin='TorchDDPPlugin' runs."
        )
    if name != "TorchDDPPlugin":
        known = (*_NAMED, *_DIVIDING, "TorchDDPPlugin")
        raise ConfigError(f"ColossalAI has no plugin {name!r}.{did_you_mean(name, known)}")


def _built(plugin: Any, name: str) -> Any:
    """The plugin; its arguments are checked by its class."""
    if not isinstance(plugin, (str, Mapping)):
        return plugin
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about packages that it might use
        kind = getattr(_room("colossalai.booster.plugin"), name)
    options = {key: value for key, value in plugin.items() if key != "type"} if isinstance(plugin, Mapping) else {}
    try:
        return kind(**options)
    except TypeError as error:
        raise ConfigTypeError(f"plugin {name}: {error}") from error


def _register_optimizers() -> None:
    """ColossalAI's optimizers by their names, in place of others that are called the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        room = _room("colossalai.nn.optimizer")
    for name in _OPTIMIZERS:
        OPTIMIZERS.register_module(name=name, module=getattr(room, name), force=True)
