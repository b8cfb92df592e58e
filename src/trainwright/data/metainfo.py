"""What is known about a dataset as a whole: its classes, its palette, its task."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright.base.errors import ConfigTypeError
from trainwright.base.logs import print_log
from trainwright.io import is_url, list_from_file


def merged(defaults: Mapping[str, Any], given: Any, owner: str) -> dict[str, Any]:
    """`defaults` with the entries of `given`, a mapping or a Config, on top.

    A string that is the path of a file, or the URL of a .txt, stands for the list of its lines.
    """
    found = copy.deepcopy(dict(defaults))
    if given is None:
        return found
    entries = given if isinstance(given, Mapping) else getattr(given, "_cfg_dict", None)
    if not isinstance(entries, Mapping):
        raise ConfigTypeError(
            f"metainfo of {owner} must be a mapping or a Config, got {type(given).__name__}: {given!r}; "
            "metainfo=dict(classes=...)"
        )
    return found | {key: _lines(value) if isinstance(value, str) else value for key, value in entries.items()}


def _lines(text: str) -> Any:
    if is_url(text):
        return list_from_file(text) if text.endswith(".txt") else text
    try:
        path = Path(text)
        if not path.is_file():
            if path.suffix == ".txt":
                print_log(f"metainfo names {text!r}, which is no file: it is taken for a text", "current", 30)
            return text
    except (OSError, ValueError):  # too long for a path, or with a null byte
        return text
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\n\r") for line in file]
