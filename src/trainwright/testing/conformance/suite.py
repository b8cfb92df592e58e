"""All behaviours, and a strategy asked for them one by one."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.testing.conformance import (  # noqa: F401 - each registers its behaviours
    data,
    direct,
    ending,
    evaluating,
    guarding,
    logs,
    resuming,
    saving,
    starting,
    steps,
)
from trainwright.testing.conformance.behaviour import BEHAVIOURS, Behaviour
from trainwright.testing.conformance.subject import Subject

# The order in which they are asked for and shown.
PARTS = ("steps", "starting", "data", "evaluating", "logs", "saving", "resuming", "ending", "guarding", "direct")


class UnexpectedPassError(AssertionError):
    """A behaviour is there that is named as a gap."""


def chosen(pattern: str = "*", quick: bool | None = None) -> list[Behaviour]:
    """The behaviours whose name the pattern fits, of both halves or of the `quick` (True) or long (False) one."""
    found = [one for one in BEHAVIOURS.values() if fnmatch(one.name, pattern) and quick in (None, one.quick)]
    if not found:
        raise ConfigError(f"no behaviour is named {pattern!r}.{did_you_mean(pattern, BEHAVIOURS)}")
    return sorted(found, key=lambda one: PARTS.index(one.subject_matter) if one.subject_matter in PARTS else len(PARTS))


def checked_gaps(gaps: Mapping[str, str]) -> dict[str, str]:
    """Gaps by behaviour, each with a reason; ConfigError for a name that is none, or where there is no reason."""
    for name, reason in gaps.items():
        if name not in BEHAVIOURS:
            raise ConfigError(f"gaps names {name!r}, which is no behaviour.{did_you_mean(name, BEHAVIOURS)}")
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError(f"gaps must give the reason of {name!r} as a text, got {reason!r}.")
    return dict(gaps)


def ask(subject: Subject, name: str) -> None:
    """Raise where the subject breaks the promise of that name."""
    BEHAVIOURS[name].check(subject.asked_for(name))
