"""Optional packages are imported when they are named, never before."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from trainwright.base.errors import MissingExtraError


def require(module: str, extra: str, why: str) -> ModuleType:
    """Import `module`, or raise MissingExtraError that says `why` it is needed and which extra brings it.

    A package that is installed but broken raises its own error: only its absence is reported as a missing extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        raise MissingExtraError(
            f"{why} needs the package {module!r}, which is not installed. Install it with: "
            f"pip install 'trainwright[{extra}]'"
        ) from error
