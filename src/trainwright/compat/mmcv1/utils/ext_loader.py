"""MMCV's compiled operators, which only an installed mmcv can have."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from trainwright.utils.dl_utils.misc import mmcv_full_available


def load_ext(name: str, funcs: Sequence[str]) -> ModuleType:
    """The extension ``mmcv.NAME``, which must have all of ``funcs``."""
    ext = import_module(f"mmcv.{name}")
    if missing := [func for func in funcs if not hasattr(ext, func)]:
        raise AssertionError(f"{', '.join(missing)} miss in module {name}: install a build of mmcv that has them.")
    return ext


def check_ops_exist() -> bool:
    """Whether there are compiled operators."""
    return mmcv_full_available()
