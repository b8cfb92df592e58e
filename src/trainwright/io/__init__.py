"""Storage: atomic publishing on a local disk, reading from anywhere fsspec reaches."""

from trainwright.io.atomic import (
    TMP_PREFIX,
    atomic_write_bytes,
    atomic_write_text,
    fsync_dir,
    publish,
    temporary,
    writable_dir,
    write_durably,
)
from trainwright.io.remote_run import local_dir, remote_of
from trainwright.io.storage import is_url, read_bytes, url_exists, write_bytes

__all__ = [
    "TMP_PREFIX",
    "atomic_write_bytes",
    "atomic_write_text",
    "fsync_dir",
    "is_url",
    "local_dir",
    "publish",
    "read_bytes",
    "remote_of",
    "temporary",
    "url_exists",
    "writable_dir",
    "write_bytes",
    "write_durably",
]
