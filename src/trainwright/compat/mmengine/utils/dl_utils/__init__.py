"""What mmengine.utils.dl_utils exports: utilities that need torch."""

import sys
from types import ModuleType
from typing import Any

from trainwright.compat.mmengine.mirror import mirror


class _Package(ModuleType):
    """Has the function `collect_env`, and not the module of that name, whichever is imported first."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "collect_env" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

__getattr__, __dir__, __all__ = mirror(
    __name__,
    {
        ".collect_env": "collect_env",
        ".hub": "load_url",
        ".misc": "has_batch_norm is_norm mmcv_full_available tensor2imgs",
        ".parrots_wrapper": "TORCH_VERSION",
        ".setup_env": "set_multi_processing",
        ".time_counter": "TimeCounter",
        ".torch_ops": "torch_meshgrid",
        ".trace": "is_jit_tracing",
    },
    modules="hub misc parrots_wrapper setup_env time_counter torch_ops trace visualize",
)
