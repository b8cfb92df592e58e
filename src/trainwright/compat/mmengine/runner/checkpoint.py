"""Names of mmengine.runner.checkpoint."""

from trainwright.checkpoint.model_lists import DEFAULT_CACHE_DIR, ENV_XDG_CACHE_HOME
from trainwright.checkpoint.module_state import (
    _IncompatibleKeys,
    _save_to_state_dict,
    get_state_dict,
    load_state_dict,
    weights_to_cpu,
)

__all__ = [
    "DEFAULT_CACHE_DIR",
    "ENV_XDG_CACHE_HOME",
    "_IncompatibleKeys",
    "_save_to_state_dict",
    "get_state_dict",
    "load_state_dict",
    "weights_to_cpu",
]
