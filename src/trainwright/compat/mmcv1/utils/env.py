"""What the machine and its packages are."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.version import __version__
from trainwright.utils.dl_utils.collect_env import NOT_THERE
from trainwright.utils.dl_utils.collect_env import collect_env as collect_facts


def collect_env() -> dict[str, Any]:
    """The facts under MMCV's names. MMCV is the version whose interface this is; there are no compiled operators."""
    return {**collect_facts(), "MMCV": __version__, "MMCV Compiler": NOT_THERE, "MMCV CUDA Compiler": NOT_THERE}
