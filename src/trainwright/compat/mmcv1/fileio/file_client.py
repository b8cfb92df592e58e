"""One client for all storages, chosen by name or by the prefix of a URL."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from trainwright.base.text import did_you_mean
from trainwright.compat.mmcv1.fileio.backends import (
    BaseStorageBackend,
    CephBackend,
    HardDiskBackend,
    HTTPBackend,
    LmdbBackend,
    MemcachedBackend,
    PetrelBackend,
)
from trainwright.compat.mmcv1.utils.path import is_filepath

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


class FileClient:
    """Reads and writes through a backend: the one named, or that of the prefix, or the disk. Equal arguments give one
    object.
    """

    _backends: ClassVar[dict[str, Any]] = {
        "disk": HardDiskBackend,
        "ceph": CephBackend,
        "memcached": MemcachedBackend,
        "lmdb": LmdbBackend,
        "petrel": PetrelBackend,
        "http": HTTPBackend,
    }
    _prefix_to_backends: ClassVar[dict[str, Any]] = {"s3": PetrelBackend, "http": HTTPBackend, "https": HTTPBackend}
    _instances: ClassVar[dict[str, FileClient]] = {}
    client: Any

    def __new__(cls, backend: str | None = None, prefix: str | None = None, **kwargs: Any) -> FileClient:
        if backend is None and prefix is None:
            backend = "disk"
        _check_known("Backend", backend, cls._backends)
        _check_known("prefix", prefix, cls._prefix_to_backends)
        key = ":".join([f"{backend}:{prefix}", *(f"{name}:{value}" for name, value in kwargs.items())])
        if key not in cls._instances:
            instance = super().__new__(cls)
            kind = cls._prefix_to_backends[prefix or ""] if backend is None else cls._backends[backend]
            instance.client = kind(**kwargs)
            cls._instances[key] = instance
        return cls._instances[key]

    @property
    def name(self) -> str:
        return str(self.client.name)

    @property
    def allow_symlink(self) -> bool:
        return bool(self.client.allow_symlink)

    @staticmethod
    def parse_uri_prefix(uri: Any) -> str | None:
        """'s3' of 's3://bucket/key' and of 'cluster:s3://bucket/key'; None of a path."""
        assert is_filepath(uri), f"uri must be a str or a Path, got {uri!r}"
        prefix, separator, _ = str(uri).partition("://")
        return prefix.split(":")[-1] if separator else None

    @classmethod
    def infer_client(cls, file_client_args: dict[str, Any] | None = None, uri: Any = None) -> FileClient:
        """The client that the arguments name, else the one for `uri`."""
        assert file_client_args is not None or uri is not None, "file_client_args or uri must say which client it is"
        return cls(prefix=cls.parse_uri_prefix(uri)) if file_client_args is None else cls(**file_client_args)

    @classmethod
    def _register_backend(cls, name: Any, backend: Any, force: bool = False, prefixes: Any = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a backend must be a str, got {name!r} of type {type(name).__name__}")
        if not inspect.isclass(backend):
            raise TypeError(f"backend should be a class but got {backend!r} of type {type(backend).__name__}")
        if not issubclass(backend, BaseStorageBackend):
            raise TypeError(f"backend {backend} is not a subclass of BaseStorageBackend")
        cls._replace(cls._backends, name, backend, force)
        if prefixes is not None:
            assert isinstance(prefixes, (str, list, tuple)), f"prefixes must be a str or a list, got {prefixes!r}"
            for prefix in [prefixes] if isinstance(prefixes, str) else prefixes:
                cls._replace(cls._prefix_to_backends, prefix, backend, force)

    @classmethod
    def _replace(cls, table: dict[str, Any], name: str, backend: Any, force: bool) -> None:
        if name in table:
            if not force:
                raise KeyError(f'{name} is already registered as a storage backend: add "force=True" to override it')
            for key, instance in list(cls._instances.items()):
                if isinstance(instance.client, table[name]):
                    del cls._instances[key]
        table[name] = backend

    @classmethod
    def register_backend(
        cls, name: Any, backend: Any = None, force: bool = False, prefixes: Any = None
    ) -> Callable[[Any], Any] | None:
        """Add a subclass of BaseStorageBackend, directly or as a decorator; `prefixes` of URLs that it is for."""
        if backend is not None:
            cls._register_backend(name, backend, force, prefixes)
            return None

        def register(backend_cls: Any) -> Any:
            cls._register_backend(name, backend_cls, force, prefixes)
            return backend_cls

        return register

    def get(self, filepath: Any) -> Any:
        return self.client.get(filepath)

    def get_text(self, filepath: Any, encoding: str = "utf-8") -> Any:
        return self.client.get_text(filepath, encoding)

    def put(self, obj: Any, filepath: Any) -> None:
        self.client.put(obj, filepath)

    def put_text(self, obj: str, filepath: Any) -> None:
        self.client.put_text(obj, filepath)

    def remove(self, filepath: Any) -> None:
        self.client.remove(filepath)

    def exists(self, filepath: Any) -> Any:
        return self.client.exists(filepath)

    def isdir(self, filepath: Any) -> Any:
        return self.client.isdir(filepath)

    def isfile(self, filepath: Any) -> Any:
        return self.client.isfile(filepath)

    def join_path(self, filepath: Any, *filepaths: Any) -> Any:
        return self.client.join_path(filepath, *filepaths)

    @contextmanager
    def get_local_path(self, filepath: Any) -> Iterator[Any]:
        """A path on this machine: of the file itself, or of a copy that is there within the block."""
        with self.client.get_local_path(str(filepath)) as path:
            yield path

    def list_dir_or_file(
        self, dir_path: Any, list_dir: bool = True, list_file: bool = True, suffix: Any = None, recursive: bool = False
    ) -> Iterator[str]:
        """Paths in a folder, in any order."""
        yield from self.client.list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)


def _check_known(what: str, name: str | None, table: dict[str, Any]) -> None:
    if name is not None and name not in table:
        raise ValueError(
            f"{what} {name} is not supported. Currently supported ones are {list(table)}.{did_you_mean(name, table)}"
        )
