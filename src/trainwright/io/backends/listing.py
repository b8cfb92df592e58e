"""What the storages share: arguments of a listing, and copies that last as long as a `with`."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def check_listing(list_dir: bool, suffix: Any) -> None:
    """Raise TypeError for a suffix that folders would have to have, or that is none."""
    if list_dir and suffix is not None:
        raise TypeError(
            "`suffix` should be None when `list_dir` is True (`list_dir` should be False when `suffix` is not None), "
            f"since only files have one: got suffix={suffix!r}"
        )
    if suffix is not None and not isinstance(suffix, (str, tuple)):
        raise TypeError(
            f"`suffix` must be a string or tuple of strings, got {suffix!r} of type {type(suffix).__name__}"
        )


@contextmanager
def local_copy(data: Any, path: str) -> Iterator[str]:
    """A temporary file with these bytes, and with the suffix of `path`; deleted at the end of the block."""
    suffix = re.search(r"\.\w{1,16}$", path.partition("?")[0])
    handle, copy = tempfile.mkstemp(suffix=suffix[0] if suffix else "")
    try:
        with open(handle, "wb") as file:
            file.write(data)
        yield copy
    finally:
        os.remove(copy)
