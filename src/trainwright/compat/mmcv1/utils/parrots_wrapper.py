"""torch's classes under the names that mmcv.utils gives them."""

from __future__ import annotations

from typing import Any

from trainwright.device import is_cuda_available
from trainwright.utils.dl_utils import parrots_wrapper
from trainwright.utils.dl_utils.parrots_wrapper import *  # noqa: F403 - the names of __all__, private ones too

IS_CUDA_AVAILABLE = is_cuda_available()


def __getattr__(name: str) -> Any:
    return getattr(parrots_wrapper, name)
