"""Names of mmengine.config.config."""

from trainwright.config.config import RESERVED_KEYS, Config, read_base
from trainwright.config.config_dict import DELETE_KEY, ConfigDict
from trainwright.config.config_dict import to_plain as _plain
from trainwright.config.options import DictAction, add_args
from trainwright.config.reading.document import BASE_KEY
from trainwright.config.reading.files import DEPRECATION_KEY

__all__ = [
    "BASE_KEY",
    "DELETE_KEY",
    "DEPRECATION_KEY",
    "RESERVED_KEYS",
    "Config",
    "ConfigDict",
    "DictAction",
    "add_args",
    "read_base",
]


def _lazy2string(cfg_dict: object, dict_type: object = None) -> object:
    """The tree with each LazyObject as the text of its path."""
    return _plain(cfg_dict, named=True)
