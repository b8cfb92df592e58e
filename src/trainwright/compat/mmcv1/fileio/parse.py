"""Text files as lists and dicts."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from itertools import islice
from typing import Any

from trainwright.compat.mmcv1.fileio.file_client import FileClient


def list_from_file(
    filename: Any,
    prefix: str = "",
    offset: int = 0,
    max_num: int = 0,
    encoding: str = "utf-8",
    file_client_args: Any = None,
) -> list[str]:
    """The lines after the first `offset`, at most `max_num` of them where that is above 0, each behind `prefix`."""
    stop = offset + max_num if max_num > 0 else None
    return [prefix + line.rstrip("\n\r") for line in islice(_lines(filename, encoding, file_client_args), offset, stop)]


def dict_from_file(
    filename: Any, key_type: Callable[[str], Any] = str, encoding: str = "utf-8", file_client_args: Any = None
) -> dict[Any, Any]:
    """Of each line the first column is the key, the others are the value: text, or a list if there are several."""
    mapping = {}
    for line in _lines(filename, encoding, file_client_args):
        items = line.rstrip("\n").split()
        assert len(items) >= 2, f"a line of {filename} must have a key and a value, got {line!r}"
        mapping[key_type(items[0])] = items[1:] if len(items) > 2 else items[1]
    return mapping


def _lines(filename: Any, encoding: str, file_client_args: Any) -> StringIO:
    return StringIO(FileClient.infer_client(file_client_args, filename).get_text(filename, encoding))
