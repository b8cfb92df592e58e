"""One client for all storages, chosen by name or by the prefix of a URL."""

from __future__ import annotations

from typing import Any, ClassVar

from trainwright import io
from trainwright.compat.mmcv1.fileio.backends import (
    BaseStorageBackend,
    CephBackend,
    HardDiskBackend,
    HTTPBackend,
    LmdbBackend,
    MemcachedBackend,
    PetrelBackend,
)

__all__ = [
    "BaseStorageBackend",
    "CephBackend",
    "FileClient",
    "HTTPBackend",
    "HardDiskBackend",
    "LmdbBackend",
    "MemcachedBackend",
    "PetrelBackend",
]


class FileClient(io.FileClient):
    """`trainwright.io.FileClient` with MMCV's storages."""

    _backends: ClassVar[dict[str, Any]] = {
        "disk": HardDiskBackend,
        "ceph": CephBackend,
        "memcached": MemcachedBackend,
        "lmdb": LmdbBackend,
        "petrel": PetrelBackend,
        "http": HTTPBackend,
    }
    _prefix_to_backends: ClassVar[dict[str, Any]] = {"s3": PetrelBackend, "http": HTTPBackend, "https": HTTPBackend}
    _instances: ClassVar[dict[str, Any]] = {}
