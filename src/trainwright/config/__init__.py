"""Config files: reading, overriding, writing. No torch, and no import of what a config names before it is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainwright.base.lazy import LazyAttr, LazyObject
from trainwright.config.config import RESERVED_KEYS, Config, read_base
from trainwright.config.config_dict import ConfigDict
from trainwright.config.imports import import_custom

if TYPE_CHECKING:
    from trainwright.config.options import DictAction, parse_options

__all__ = [
    "RESERVED_KEYS",
    "Config",
    "ConfigDict",
    "DictAction",
    "LazyAttr",
    "LazyObject",
    "import_custom",
    "parse_options",
    "read_base",
]


def __getattr__(name: str) -> Any:
    """The options of a command line need argparse, and who reads a config does not."""
    if name not in ("DictAction", "parse_options"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainwright.config import options

    return getattr(options, name)
