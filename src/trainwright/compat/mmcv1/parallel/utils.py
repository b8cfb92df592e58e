"""What is a wrapper."""

from __future__ import annotations

from torch import nn

from trainwright.compat.mmcv1.parallel.registry import MODULE_WRAPPERS
from trainwright.model import is_model_wrapper


def is_module_wrapper(module: nn.Module) -> bool:
    """Whether it is of a class in MODULE_WRAPPERS or its children: the user's model is its `module`."""
    return is_model_wrapper(module, MODULE_WRAPPERS)
