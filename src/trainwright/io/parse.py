"""Text files as lists and dicts."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from itertools import islice
from typing import Any

from trainwright.io.file_client import FileClient
from trainwright.io.functions import asks_for_client, get_text


def list_from_file(
    filename: Any,
    prefix: str = "",
    offset: int = 0,
    max_num: int = 0,
    encoding: str = "utf-8",
    file_client_args: Any = None,
    backend_args: Any = None,
) -> list[str]:
    """The lines after the first `offset`, at most `max_num` of them where that is above 0, each behind `prefix`."""
    return list_of(_text(filename, encoding, file_client_args, backend_args), prefix, offset, max_num)


def dict_from_file(
    filename: Any,
    key_type: Callable[[str], Any] = str,
    encoding: str = "utf-8",
    file_client_args: Any = None,
    backend_args: Any = None,
) -> dict[Any, Any]:
    """Of each line the first column is the key, the others are the value: text, or a list if there are several."""
    return dict_of(_text(filename, encoding, file_client_args, backend_args), key_type, filename)


def _text(filename: Any, encoding: str, file_client_args: Any, backend_args: Any) -> str:
    if asks_for_client(file_client_args, backend_args):
        text: str = FileClient.infer_client(file_client_args, filename).get_text(filename, encoding)
        return text
    return get_text(filename, encoding, backend_args=backend_args)


def list_of(text: str, prefix: str, offset: int, max_num: int) -> list[str]:
    """As `list_from_file`, of a text."""
    stop = offset + max_num if max_num > 0 else None
    return [prefix + line.rstrip("\n\r") for line in islice(StringIO(text), offset, stop)]


def dict_of(text: str, key_type: Callable[[str], Any], filename: Any) -> dict[Any, Any]:
    """As `dict_from_file`, of a text; AssertionError for a line without a value."""
    mapping = {}
    for number, line in enumerate(StringIO(text), 1):
        items = line.split()
        assert len(items) >= 2, f"{filename}:{number}: a line must have a key and a value, got {line!r}"
        mapping[key_type(items[0])] = items[1:] if len(items) > 2 else items[1]
    return mapping
