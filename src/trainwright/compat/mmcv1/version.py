"""The version of MMCV whose interface this is."""

from __future__ import annotations

from trainwright.utils.version_utils import digit_version

__version__ = "1.7.2"
__all__ = ["__version__", "parse_version_info", "version_info"]


def parse_version_info(version_str: str, length: int = 4) -> tuple[int | str, ...]:
    """'1.7.2' -> (1, 7, 2, 0, 0, 0), '1.3rc1' -> (1, 3, 0, 0, 'rc', 1)."""
    *release, stage, number = digit_version(version_str, length)
    names: dict[int, str] = {-3: "a", -2: "b", -1: "rc", 1: "post"}
    return (*release, names.get(stage, 0), number)


version_info = tuple(int(part) for part in __version__.split("."))
