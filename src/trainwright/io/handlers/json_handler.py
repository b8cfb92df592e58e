"""JSON; sets, ranges, tensors and NumPy's values are written as lists and numbers."""

from __future__ import annotations

import json
from typing import Any

from trainwright.io.handlers.base import BaseFileHandler


def set_default(obj: Any) -> Any:
    """What JSON has for a value that is none of its own; TypeError if there is nothing."""
    if isinstance(obj, (set, range)):
        return list(obj)
    import numpy as np

    if isinstance(obj, np.generic):
        return obj.item()
    if isinstance(obj, np.ndarray) or _is_tensor(obj):  # what was an array is a tensor after a checkpoint
        return obj.tolist()
    raise TypeError(f"{type(obj)} is unsupported for json dump: make it a number, text, list or dict, got {obj!r}")


def _is_tensor(obj: Any) -> bool:
    import torch

    return isinstance(obj, torch.Tensor)


class JsonHandler(BaseFileHandler):
    """`kwargs` go to the functions of `json`. `trusted` is of no matter: what is read is data."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        kwargs.pop("trusted", None)
        return json.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        json.dump(obj, file, **{"default": set_default, **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        return json.dumps(obj, **{"default": set_default, **kwargs})
