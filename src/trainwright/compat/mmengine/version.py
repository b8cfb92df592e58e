"""Names of mmengine.version: the version that the face answers for."""

from __future__ import annotations

from trainwright.base.version import MMENGINE_VERSION

__version__ = MMENGINE_VERSION


def parse_version_info(version_str: str) -> tuple[int | str, ...]:
    """``"1.2.0rc1"`` as ``(1, 2, 0, "rc1")``; parts that are neither a number nor a candidate are left out."""
    parts: list[int | str] = []
    for part in version_str.split("."):
        number, candidate, count = part.partition("rc")
        if part.isdigit():
            parts.append(int(part))
        elif candidate:
            parts += [int(number), f"rc{count}"]
    return tuple(parts)


version_info = parse_version_info(__version__)
