"""Parts of a model by shell patterns on dotted names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.text import did_you_mean


def checked_patterns(hook: object, name: str, patterns: Any) -> list[str]:
    """One pattern or several as a list; ConfigTypeError for anything else."""
    listed = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(listed, (list, tuple)) or not listed or not all(isinstance(p, str) and p for p in listed):
        raise ConfigTypeError(
            f"{type(hook).__name__} {name} must be a pattern on names of modules or parameters, or a list of them, for "
            f"instance ['backbone', '*.bias'], but got {patterns!r}."
        )
    return list(listed)


def matches(name: str, pattern: str) -> bool:
    """Whether ``name`` is what ``pattern`` names, or lies in it: 'backbone' has all of the backbone."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")


def parameters_by_pattern(
    hook: object, model: nn.Module, patterns: Sequence[str], others: Sequence[str] = ()
) -> dict[str, dict[str, nn.Parameter]]:
    """For each pattern its parameters by name; ConfigError with near names for one that fits neither a parameter nor
    any name of `others`."""
    named = dict(model.named_parameters())
    found = {p: {name: value for name, value in named.items() if matches(name, p)} for p in patterns}
    for pattern, own in found.items():
        if not own and not any(matches(name, pattern) for name in others):
            known = [name for name, _ in model.named_modules() if name]
            raise ConfigError(
                f"{type(hook).__name__} has the pattern {pattern!r}, and {type(model).__name__} has no parameter whose "
                f"name it fits.{did_you_mean(pattern, [*known, *named])} A pattern is the dotted name of a module or a "
                "parameter, in which * stands for anything."
            )
    return found
