"""Names of mmengine.config.config."""

from trainwright.config.config import RESERVED_KEYS, Config, read_base
from trainwright.config.config_dict import DELETE_KEY, ConfigDict
from trainwright.config.options import DictAction
from trainwright.config.reading.document import BASE_KEY
from trainwright.config.reading.files import DEPRECATION_KEY

__all__ = [
    "BASE_KEY",
    "Config",
    "ConfigDict",
    "DELETE_KEY",
    "DEPRECATION_KEY",
    "DictAction",
    "RESERVED_KEYS",
    "read_base",
]
