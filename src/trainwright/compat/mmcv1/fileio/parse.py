"""Text files as lists and dicts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.compat.mmcv1.fileio.file_client import FileClient
from trainwright.io.parse import dict_of, list_of


def list_from_file(
    filename: Any,
    prefix: str = "",
    offset: int = 0,
    max_num: int = 0,
    encoding: str = "utf-8",
    file_client_args: Any = None,
) -> list[str]:
    """The lines after the first `offset`, at most `max_num` of them where that is above 0, each behind `prefix`."""
    return list_of(_text(filename, encoding, file_client_args), prefix, offset, max_num)


def dict_from_file(
    filename: Any, key_type: Callable[[str], Any] = str, encoding: str = "utf-8", file_client_args: Any = None
) -> dict[Any, Any]:
    """Of each line the first column is the key, the others are the value: text, or a list if there are several."""
    return dict_of(_text(filename, encoding, file_client_args), key_type, filename)


def _text(filename: Any, encoding: str, file_client_args: Any) -> Any:
    return FileClient.infer_client(file_client_args, filename).get_text(filename, encoding)
