"""What the machine and its packages are."""

from __future__ import annotations

from typing import Any

from trainwright.compat.mmcv1.version import __version__
from trainwright.strategies.environment import collect_env as collect_facts

_NONE = "n/a"


def collect_env() -> dict[str, Any]:
    """The facts under MMCV's names. MMCV is the version whose interface this is; there are no compiled operators."""
    facts = collect_facts()
    return {**facts, "OpenCV": facts.get("OpenCV", _NONE), "MMCV": __version__} | {
        "MMCV Compiler": _NONE,
        "MMCV CUDA Compiler": _NONE,
    }
