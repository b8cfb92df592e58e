"""Optional packages are imported when they are named, never before."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from trainwright.base.errors import MissingExtraError


def require(module: str, extra: str | None, why: str, install: str = "") -> ModuleType:
    """Import `module`, or raise MissingExtraError that says `why` it is needed and which extra brings it; where none
    does, `install` is the command.

    A package that is installed but broken raises its own error: only its absence is reported as a missing extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(f"{error.name}.")):
            raise
        command = f"pip install 'trainwright[{extra}]'" if extra is not None else install
        raise MissingExtraError(
            f"{why} needs the package {module!r}, which is not installed. Install it with: {command}"
        ) from error
