"""The storages by name, and by the prefix of a URL."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from trainwright.base.errors import demand
from trainwright.io.backends.base import BaseStorageBackend
from trainwright.io.backends.fsspec_backend import FsspecBackend
from trainwright.io.backends.http_backend import HTTPBackend
from trainwright.io.backends.lmdb_backend import LmdbBackend
from trainwright.io.backends.local_backend import LocalBackend
from trainwright.io.backends.memcached_backend import MemcachedBackend
from trainwright.io.backends.petrel_backend import PetrelBackend

backends: dict[str, Any] = {}
prefix_to_backends: dict[str, Any] = {}


def checked(name: Any, backend: Any, prefixes: Any) -> list[str]:
    """The prefixes, of arguments that are what they should be; TypeError, AssertionError."""
    if not isinstance(name, str):
        raise TypeError(f"the backend name should be a string, but got {name!r} of type {type(name).__name__}")
    if not inspect.isclass(backend):
        raise TypeError(f"backend should be a class, but got {backend!r} of type {type(backend).__name__}")
    if not issubclass(backend, BaseStorageBackend):
        raise TypeError(f"backend {backend} is not a subclass of BaseStorageBackend: derive it from that")
    if prefixes is None or isinstance(prefixes, str):
        return [] if prefixes is None else [prefixes]
    demand(isinstance(prefixes, (list, tuple)), f"prefixes must be a string or a list of them, got {prefixes!r}")
    return list(prefixes)


def taken(name: str) -> str:
    """What is said of a name or prefix that there is."""
    return f'{name} is already registered as a storage backend, add "force=True" if you want to override it'


def _register_backend(name: Any, backend: Any, force: bool = False, prefixes: Any = None) -> None:
    wanted = checked(name, backend, prefixes)
    if not force:
        for table, key in ((backends, name), *((prefix_to_backends, prefix) for prefix in wanted)):
            if key in table:
                raise ValueError(taken(key))
    backends[name] = backend
    prefix_to_backends.update(dict.fromkeys(wanted, backend))


def register_backend(
    name: str,
    backend: type[BaseStorageBackend] | None = None,
    force: bool = False,
    prefixes: str | list[str] | tuple[str, ...] | None = None,
) -> Callable[[Any], Any] | None:
    """Add a subclass of BaseStorageBackend, directly or as a decorator; `prefixes` are those of URLs that it is for.
    ValueError for a name or prefix that there is, unless `force`.
    """

    def register(kind: Any) -> Any:
        _register_backend(name, kind, force, prefixes)
        return kind

    if backend is None:
        return register
    register(backend)
    return None


register_backend("local", LocalBackend, prefixes="")
register_backend("memcached", MemcachedBackend)
register_backend("lmdb", LmdbBackend)
register_backend("petrel", PetrelBackend, prefixes=["petrel", "s3"])
register_backend("http", HTTPBackend, prefixes=["http", "https"])
register_backend("fsspec", FsspecBackend)
