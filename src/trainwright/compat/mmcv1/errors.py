"""Errors whose types MMCV's users catch, in our tree."""

from __future__ import annotations

from trainwright.base.errors import ConfigError


class RuleError(ConfigError, AssertionError):
    """A setting that MMCV refuses by an assertion."""


class LackingError(ConfigError, KeyError):
    """A name that has no entry where one is needed."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr


def demand(holds: object, message: str) -> None:
    """Raise RuleError with `message` unless the rule `holds`."""
    if not holds:
        raise RuleError(message)
