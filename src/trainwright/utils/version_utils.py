"""Versions as tuples of numbers, and the git hash of the current folder."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from trainwright.base.errors import TrainwrightError

_VERSION = re.compile(
    r"\s*v?(?:\d+!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_n>\d+)?)?"
    r"(?P<post>-(?P<post_n1>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_n2>\d+)?)?"
    r"(?P<dev>[-_.]?dev[-_.]?\d*)?(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?\s*",
    re.IGNORECASE,
)
_PRE = {"a": -3, "alpha": -3, "b": -2, "beta": -2, "c": -1, "rc": -1, "pre": -1, "preview": -1}


class VersionError(TrainwrightError, ValueError, AssertionError):
    """A text that is no version."""


def digit_version(version_str: str, length: int = 4) -> tuple[int, ...]:
    """`length` numbers of the release and two that order what leads to it and follows it: dev < a < b < rc < final <
    post. It is there for comparing.
    """
    found = _VERSION.fullmatch(version_str)
    if found is None:
        raise VersionError(f"failed to parse version {version_str!r}: PEP 440 knows none that is written so")
    release = [int(part) for part in found["release"].split(".")][:length]
    release += [0] * (length - len(release))
    if found["pre"]:
        return (*release, _PRE[found["pre"].lower()], int(found["pre_n"] or 0))
    if found["dev"]:
        return (*release, -4, 0)
    if found["post"]:
        return (*release, 1, int(found["post_n1"] or found["post_n2"] or 0))
    return (*release, 0, 0)


def _minimal_ext_cmd(cmd: list[str]) -> bytes:
    kept = {name: os.environ[name] for name in ("SYSTEMROOT", "PATH", "HOME") if name in os.environ}
    plain = {"LANGUAGE": "C", "LANG": "C", "LC_ALL": "C"}
    done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**kept, **plain}, check=False)
    return done.stdout


def get_git_hash(fallback: str = "unknown", digits: Any = None) -> str:
    """The hash of HEAD of the repository around the current folder, or `fallback`."""
    if digits is not None and not isinstance(digits, int):
        raise TypeError(f"digits must be None or an int, got {digits!r} of type {type(digits).__name__}")
    try:
        sha = _minimal_ext_cmd(["git", "rev-parse", "HEAD"]).strip().decode("ascii")
    except OSError:
        return fallback
    return sha[:digits] if sha else fallback
