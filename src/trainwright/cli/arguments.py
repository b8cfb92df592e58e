"""Habits of the field that click has no word for, rewritten into ones that it has."""

from __future__ import annotations

from collections.abc import Sequence

AUTO = "auto"


def normalised(arguments: Sequence[str]) -> list[str]:
    """``--cfg-options a=1 b=2`` becomes one option per pair; a bare ``--resume`` becomes ``--resume auto``,
    and a bare ``--fast-dev-run`` becomes ``--fast-dev-run 1``.
    """
    result: list[str] = []
    items = list(arguments)
    while items:
        item = items.pop(0)
        if item == "--cfg-options":
            while items and not items[0].startswith("--"):
                result += ["--cfg-options", items.pop(0)]
        elif item == "--resume" and (not items or items[0].startswith("--")):
            result += ["--resume", AUTO]
        elif item == "--fast-dev-run" and not (items and items[0].lstrip("-").isdigit()):
            result += ["--fast-dev-run", "1"]
        else:
            result.append(item)
    return result
