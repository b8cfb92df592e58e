"""Storage: atomic publishing on a local disk, reading from anywhere fsspec reaches."""

from trainwright.io.atomic import atomic_write_bytes, atomic_write_text, fsync_dir, publish, writable_dir
from trainwright.io.storage import is_url, read_bytes, url_exists, write_bytes

__all__ = [
    "atomic_write_bytes",
    "atomic_write_text",
    "fsync_dir",
    "is_url",
    "publish",
    "read_bytes",
    "url_exists",
    "writable_dir",
    "write_bytes",
]
