"""Reading bytes from a local path or any URL that fsspec knows."""

from __future__ import annotations

import os
import re
from pathlib import Path

from trainwright.io.atomic import atomic_write_bytes


def is_url(path: str) -> bool:
    """Whether ``path`` names a storage by protocol, such as ``s3://bucket/key`` or ``simplecache::s3://bucket/key``;
    ``file://`` counts too."""
    return re.match(r"[A-Za-z][A-Za-z0-9+._:-]*://", path) is not None


def url_exists(path: str) -> bool:
    """Whether a file lies at ``path``, a local path or an fsspec URL."""
    if not is_url(path):
        return Path(path).is_file()
    from fsspec.core import url_to_fs  # lazy: fsspec is needed for URLs only

    filesystem, inner = url_to_fs(path)
    return bool(filesystem.isfile(inner))


def read_bytes(path: str) -> bytes:
    """All bytes at ``path``, a local path or an fsspec URL; raises OSError as the storage does."""
    if not is_url(path):
        return Path(path).read_bytes()
    from fsspec.core import url_to_fs  # lazy: fsspec is needed for URLs only

    filesystem, inner = url_to_fs(path)
    return bytes(filesystem.cat_file(inner))


def write_bytes(path: str, data: bytes) -> None:
    """Write ``data`` to ``path``, a URL of any storage or a local path; a local file is published whole."""
    if not is_url(path):
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        atomic_write_bytes(path, data)
        return
    import fsspec

    with fsspec.open(path, "wb") as file:
        file.write(data)
