"""Storages."""

from trainwright.io.backends.base import BaseStorageBackend
from trainwright.io.backends.fsspec_backend import FsspecBackend
from trainwright.io.backends.http_backend import HTTPBackend
from trainwright.io.backends.lmdb_backend import LmdbBackend
from trainwright.io.backends.local_backend import LocalBackend
from trainwright.io.backends.memcached_backend import MemcachedBackend
from trainwright.io.backends.petrel_backend import PetrelBackend
from trainwright.io.backends.registry_utils import backends, prefix_to_backends, register_backend

__all__ = [
    "BaseStorageBackend",
    "FsspecBackend",
    "HTTPBackend",
    "LmdbBackend",
    "LocalBackend",
    "MemcachedBackend",
    "PetrelBackend",
    "backends",
    "prefix_to_backends",
    "register_backend",
]
