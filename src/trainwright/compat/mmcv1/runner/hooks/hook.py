"""The hook base of MMCV 1.x and its registry."""

from __future__ import annotations

from trainwright.compat.mmcv1.utils.registry import Registry

HOOKS = Registry("hook")
