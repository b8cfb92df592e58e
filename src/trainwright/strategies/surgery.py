"""Changes made to a model on its way to the device."""

from __future__ import annotations

from logging import Logger
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean


def compile_method(model: nn.Module, compile: dict[str, Any] | bool, logger: Logger) -> nn.Module:
    """Replace the method ``compile['target']`` (default ``forward``) of ``model`` by its compiled form.

    The other keys go to torch.compile. False leaves the model as it is, True compiles with torch's defaults.
    """
    if compile is False or compile is None:
        return model
    options = {} if compile is True else dict(compile)
    target = options.pop("target", "forward")
    method = getattr(model, target, None)
    if method is None:
        methods = [name for name in dir(model) if callable(getattr(model, name, None))]
        raise ConfigError(
            f"compile target {target!r} is no method of {type(model).__name__}.{did_you_mean(target, methods)}"
        )
    setattr(model, target, torch.compile(method, **options))
    logger.info("%s.%s is compiled: its first iterations will be slow", type(model).__name__, target)
    return model
