"""What mmengine._strategy.utils has."""

from __future__ import annotations

from typing import Any

from torch._subclasses.fake_tensor import _is_tensor_constructor  # type: ignore[attr-defined]
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["MetaTensorContext"]


class MetaTensorContext(TorchDispatchMode):
    """Inside of it every tensor that is made has a shape and a type, and no memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = kwargs or {}
        if _is_tensor_constructor(func):
            settings = {**settings, "device": "meta"}  # all that make tensors take it by keyword alone
        return func(*args, **settings)
