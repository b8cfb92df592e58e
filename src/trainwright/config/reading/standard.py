"""Which imports of a config run at once, because they are the language's own or ours, and which are only noted."""

from __future__ import annotations

import sys
from typing import Any

_OURS = frozenset({"Config", "ConfigDict", "DictAction", "LazyAttr", "LazyObject", "read_base"})
_CONFIG_MODULES = ("mmengine.config", "trainwright.config")
_TOP_MODULES = ("mmengine", "trainwright")


def is_standard(module: str) -> bool:
    """Whether `module` belongs to the standard library, which every machine has and which is quick to import."""
    return module.partition(".")[0] in sys.stdlib_module_names


def is_ours(module: str | None, name: str) -> bool:
    """Whether `from module import name` means this package's own, whichever engine the config was written for."""
    return module is not None and module.startswith(_CONFIG_MODULES) and name in _OURS


def is_ours_in_text(module: str | None, name: str) -> bool:
    """The same in the text syntax, whose configs also write `from mmengine import Config`."""
    return is_ours(module, name) or (module in _TOP_MODULES and name in _OURS)


def ours(name: str) -> Any:
    """The object that `is_ours` spoke of."""
    import trainwright.config

    return getattr(trainwright.config, name)
