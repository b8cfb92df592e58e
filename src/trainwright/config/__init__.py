"""Config files: reading, overriding, writing. No torch, and no import of what a config names before it is built."""

from trainwright.base.lazy import LazyAttr, LazyObject
from trainwright.config.config import RESERVED_KEYS, Config, read_base
from trainwright.config.config_dict import ConfigDict
from trainwright.config.imports import import_custom
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
