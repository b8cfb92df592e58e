"""Where a config dict was written: asked by the registry, which builds from one, and answered by `config`, which knows.
Neither imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Finder = Callable[[dict[Any, Any]], "str | None"]
_finders: list[Finder] = []


def add_finder(finder: Finder) -> None:
    """Let `finder` be asked: it gives the place of a dict, that very object, or None."""
    _finders.append(finder)


def find_place(tree: dict[Any, Any]) -> str | None:
    """`model.backbone (configs/a.py:12)`, or None when nobody knows the dict."""
    return next((place for finder in _finders if (place := finder(tree)) is not None), None)
