"""Pickles of data: containers, numbers, text, NumPy's arrays and torch's tensors. Nothing else that a file names is
looked up, so that reading one runs none of its code.
"""

from __future__ import annotations

import io
import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from importlib import import_module
from typing import Any

import torch

from trainwright.base.errors import DataError
from trainwright.io.handlers import pickle_handler

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ALLOWED = {
    "builtins": ("bytearray", "complex", "frozenset", "range", "set", "slice"),
    "_codecs": ("encode",),
    "collections": ("Counter", "OrderedDict", "defaultdict", "deque"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "pathlib": ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath"),
    "numpy": ("dtype", "ndarray"),
    **dict.fromkeys(_ARRAY_MODULES, ("_reconstruct", "scalar")),
    **dict.fromkeys(("numpy.core.numeric", "numpy._core.numeric"), ("_frombuffer",)),
    "torch": ("Size", "device"),
    "torch._utils": ("_rebuild_parameter", "_rebuild_tensor_v2"),
}


def _storage(data: bytes) -> Any:
    """As torch packs the numbers of a tensor into a pickle: with a file of its own."""
    return torch.load(io.BytesIO(data), weights_only=True)


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        # Protocol 2 has the names of Python 2.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage
        if name in _ALLOWED.get(module, ()):
            return getattr(import_module(module), name)
        raise DataError(
            f"this pickle names {module}.{name}, and only data is read: containers, numbers, text, arrays and tensors. "
            "If you trust its maker, register a handler of your own for 'pkl' by mmcv.register_handler."
        )


class PickleHandler(pickle_handler.PickleHandler):
    """Needs no trust, since it looks up nothing but data."""

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        return _DataUnpickler(file, **kwargs).load()
