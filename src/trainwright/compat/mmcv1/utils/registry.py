"""The registry of MMCV 1.x."""

from __future__ import annotations

from trainwright.registry import Registry

__all__ = ["Registry"]
