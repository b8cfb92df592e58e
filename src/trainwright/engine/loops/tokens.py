"""How many tokens a batch has, by the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean

Tokens = str | Callable[[Any], Any]


def check_tokens(tokens: Any, owner: str) -> None:
    """Refuse what is neither a key of a batch nor a function of it."""
    if not (isinstance(tokens, str) or callable(tokens)):
        raise ConfigTypeError(f"{owner} tokens must be a key of the batch or a function, but got {tokens!r}.")


def tokens_in(batch: Any, tokens: Tokens, owner: str) -> Any:
    """The tokens of a batch: as many as the tensors under the key `tokens` (dotted into nested dicts) have elements, or
    what the function `tokens` gives. A key reads nothing from a device.
    """
    if not isinstance(tokens, str):
        return tokens(batch)
    value = batch
    for key in tokens.split("."):
        if not isinstance(value, Mapping) or key not in value:
            keys = list(map(str, value)) if isinstance(value, Mapping) else []
            raise ConfigError(
                f"{owner} tokens={tokens!r} is no key of the batch: there is no {key!r} in "
                f"{', '.join(keys) or type(value).__name__}.{did_you_mean(key, keys)}"
            )
        value = value[key]
    parts = value if isinstance(value, (list, tuple)) else [value]
    return sum(part.numel() if isinstance(part, Tensor) else len(part) for part in parts)
