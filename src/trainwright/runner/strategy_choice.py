"""Which strategy a Runner has, and what of the config is for it."""

from __future__ import annotations

from inspect import signature
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.registry import STRATEGIES
from trainwright.runner.spec import ddp_settings
from trainwright.strategies import BaseStrategy, RanksStrategy


def wrapper_settings(cfg: Any, kind: Any) -> dict[str, Any]:
    """What a config says at its top, as MMEngine's do, of the wrapper around a model: arguments of the strategy, which
    must have them. With one process there is no wrapper, and nothing is refused."""
    settings = ddp_settings(cfg)
    strategy: Any = STRATEGIES.get(kind) if isinstance(kind, str) else kind
    if not settings or not isinstance(strategy, type) or not issubclass(strategy, RanksStrategy):
        return {}
    known = {name for base in strategy.__mro__ if "__init__" in vars(base) for name in signature(base).parameters}
    for name, place in (("model_wrapper", "model_wrapper_cfg or find_unused_parameters"), ("sync_bn", "sync_bn")):
        if name in settings and name not in known:
            raise ConfigError(
                f"the config has {place}, and {strategy.__name__} has no {name}: it would have no effect. Leave it "
                "out, or train with DDPStrategy."
            )
    return settings


def named_by_wrapper(cfg: Any, default: str) -> str:
    """The strategy where none is named: `default`, or FSDPStrategy where ``model_wrapper_cfg`` names FSDP's wrapper and
    `default` is of several processes."""
    kind = (cfg.get("model_wrapper_cfg") or {}).get("type", "")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    is_fsdp = name.rpartition(".")[2] in ("MMFullyShardedDataParallel", "FullyShardedDataParallel")
    return "FSDPStrategy" if is_fsdp and default == "DDPStrategy" else default


def built_from_parts(strategy: BaseStrategy) -> BaseStrategy:
    """The strategy; ConfigError for one that would have to be brought up by its own ``prepare``."""
    kind = type(strategy)
    prepares = next(base for base in kind.__mro__ if "prepare" in vars(base))
    if prepares is not BaseStrategy and not {"place_model", "attach_optim_wrapper"} & set(vars(prepares)):
        raise ConfigError(
            f"{kind.__name__} overrides prepare(), which a Runner does not call: it brings up model, optimizer and "
            "schedulers one by one. Override what prepare() calls: build_model, _wrap_model, _init_model_weights, "
            "compile_model, build_optim_wrapper, _scale_lr, build_param_scheduler."
        )
    return strategy
