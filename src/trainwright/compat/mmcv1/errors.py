"""Errors whose types MMCV's users catch, in our tree."""

from __future__ import annotations

from trainwright.base.errors import ConfigError, RuleError, demand

__all__ = ["LackingError", "RuleError", "demand"]


class LackingError(ConfigError, KeyError):
    """A name that has no entry where one is needed."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr
