"""Which parameters train: `requires_grad` of custom keys, set before the groups are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from trainwright.base.defaults import defaults
from trainwright.base.errors import ConfigError


def freeze(model: nn.Module, custom_keys: dict[str, Any], deciding: Callable[[str], str | None]) -> None:
    """Set ``requires_grad`` of each parameter whose deciding key has that setting.

    Raises ConfigError, which names the keys, when nothing is left to train.
    """
    freezing = {key for key, settings in custom_keys.items() if "requires_grad" in settings}
    if freezing:
        for name, param in model.named_parameters():
            key = deciding(matched_name(name))
            if key in freezing:
                param.requires_grad_(bool(custom_keys[key]["requires_grad"]))
    if any(param.requires_grad for param in model.parameters()):
        return
    name = type(model).__name__
    keys = [repr(key) for key, settings in custom_keys.items() if settings.get("requires_grad") is False]
    if keys:
        raise ConfigError(
            f"{name} has no parameter left to train: with requires_grad=False for {', '.join(keys)} in custom_keys "
            "all of them are frozen. Take one out, or set requires_grad=True for a longer key"
        )
    if not defaults.refuses_idle_params:
        return
    raise ConfigError(
        f"{name} has no parameter to train: it has none at all, or requires_grad is False for all of them. Unfreeze a "
        "part of it, or set requires_grad=True for it in paramwise_cfg custom_keys"
    )


def matched_name(name: str) -> str:
    """What a custom key must be a part of: a parameter of the model itself is ``.name``."""
    return name if "." in name else f".{name}"


def only_freezes(paramwise_cfg: dict[str, Any]) -> bool:
    """Whether it asks for nothing but ``requires_grad``, so that one group will do."""
    others = [key for key in paramwise_cfg if key not in ("custom_keys", "allow_unmatched_keys")]
    custom_keys = paramwise_cfg.get("custom_keys", {})
    return bool(custom_keys) and not others and all(set(s) == {"requires_grad"} for s in custom_keys.values())
