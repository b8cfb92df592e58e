"""Objects named by their import path."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any


def import_dotted(path: str) -> Any:
    """The object at "pkg.mod:attr.attr" or "pkg.mod.attr"; None if `path` is not such a path or nothing is there.

    An error raised by the module itself, while it is imported, is not swallowed.
    """
    module_name, colon, attributes = path.partition(":")
    if colon:
        names = attributes.split(".")
        if not all(name.isidentifier() for name in [*module_name.split("."), *names]):
            return None
        return _attribute(module_name, names) if _exists(module_name) else None
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return None
    for n_parts in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:n_parts])
        if _exists(module_name):
            return _attribute(module_name, parts[n_parts:])
    return None


def _exists(module_name: str) -> bool:
    try:
        return find_spec(module_name) is not None
    except (ModuleNotFoundError, ValueError):
        # A parent that is no package, or a module such as __main__ that has no spec.
        import sys

        return module_name in sys.modules


def _attribute(module_name: str, names: list[str]) -> Any:
    found: Any = import_module(module_name)
    for name in names:
        found = getattr(found, name, None)
    return found
