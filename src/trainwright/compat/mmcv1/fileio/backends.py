"""Storages by the names that MMCV has for them: those of `trainwright.io`, and what differs in MMCV."""

from __future__ import annotations

from typing import Any

from trainwright.base.errors import MissingExtraError
from trainwright.io.backends import fsspec_backend
from trainwright.io.backends.base import BaseStorageBackend
from trainwright.io.backends.http_backend import HTTPBackend
from trainwright.io.backends.lmdb_backend import LmdbBackend
from trainwright.io.backends.memcached_backend import MemcachedBackend
from trainwright.io.file_client import HardDiskBackend

__all__ = [
    "BaseStorageBackend",
    "CephBackend",
    "HTTPBackend",
    "HardDiskBackend",
    "LmdbBackend",
    "MemcachedBackend",
    "PetrelBackend",
]


class PetrelBackend(fsspec_backend.FsspecBackend):
    """Object storage by URL, through fsspec: `s3://bucket/key` needs s3fs. `path_mapping`: what begins with a key of it
    begins with its value instead.
    """

    def __init__(self, path_mapping: dict[str, str] | None = None, enable_mc: bool = True) -> None:
        super().__init__(path_mapping)

    def get(self, filepath: Any) -> memoryview:
        return memoryview(super().get(filepath))


class CephBackend(BaseStorageBackend):
    """Ceph's own client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise MissingExtraError(
            f"{self.name} needs a client that is no public package. 'petrel' reaches what fsspec knows by URL; another "
            "storage is added by FileClient.register_backend."
        )

    def get(self, filepath: Any) -> Any:
        raise NotImplementedError

    def get_text(self, filepath: Any) -> Any:
        raise NotImplementedError
