"""JSON; sets, ranges, tensors and NumPy's values are written as lists and numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from trainwright.compat.mmcv1.fileio.handlers.base import BaseFileHandler


def set_default(obj: Any) -> Any:
    if isinstance(obj, (set, range)):
        return list(obj)
    if isinstance(obj, (np.ndarray, torch.Tensor)):  # what was an array is a tensor after a checkpoint
        return obj.tolist()
    if isinstance(obj, np.generic):
        return obj.item()
    raise TypeError(f"{type(obj)} is unsupported for json dump: make it a number, text, list or dict, got {obj!r}")


class JsonHandler(BaseFileHandler):
    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return json.load(file, **kwargs)

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        json.dump(obj, file, **{"default": set_default, **kwargs})

    def dump_to_str(self, obj: Any, **kwargs: Any) -> str:
        return json.dumps(obj, **{"default": set_default, **kwargs})
