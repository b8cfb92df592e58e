"""One client for all storages, chosen by name or by the prefix of a URL. The functions of `functions.py` are the next
simpler thing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from trainwright.base.errors import demand
from trainwright.base.text import did_you_mean
from trainwright.io.backends import (
    BaseStorageBackend,
    HTTPBackend,
    LmdbBackend,
    LocalBackend,
    MemcachedBackend,
    PetrelBackend,
)
from trainwright.io.backends.registry_utils import checked, taken

StrPath = str | Path


class HardDiskBackend(LocalBackend):
    """LocalBackend, by its older name."""

    def __init__(self) -> None:
        super().__init__()


class FileClient:
    """Reads and writes through a backend: the one named, or that of the prefix, or the disk. Equal arguments give one
    object.
    """

    _backends: ClassVar[dict[str, Any]] = {
        "disk": HardDiskBackend,
        "memcached": MemcachedBackend,
        "lmdb": LmdbBackend,
        "petrel": PetrelBackend,
        "http": HTTPBackend,
    }
    _prefix_to_backends: ClassVar[dict[str, Any]] = {
        "s3": PetrelBackend,
        "petrel": PetrelBackend,
        "http": HTTPBackend,
        "https": HTTPBackend,
    }
    _instances: ClassVar[dict[str, Any]] = {}
    client: Any

    def __new__(cls, backend: Any = None, prefix: Any = None, **kwargs: Any) -> FileClient:
        if backend is None and prefix is None:
            backend = "disk"
        _check_known("Backend", backend, cls._backends)
        _check_known("prefix", prefix, cls._prefix_to_backends)
        key = ":".join([f"{backend}:{prefix}", *(f"{name}:{value}" for name, value in kwargs.items())])
        if key not in cls._instances:
            instance = super().__new__(cls)
            kind = cls._prefix_to_backends[prefix] if backend is None else cls._backends[backend]
            instance.client = kind(**kwargs)
            cls._instances[key] = instance
        found: FileClient = cls._instances[key]
        return found

    @property
    def name(self) -> str:
        """The name of the backend's class."""
        return str(self.client.name)

    @property
    def allow_symlink(self) -> bool:
        """Whether there are links in the storage."""
        return bool(self.client.allow_symlink)

    @staticmethod
    def parse_uri_prefix(uri: StrPath) -> str | None:
        """'s3' of 's3://bucket/key' and of 'cluster:s3://bucket/key'; None of a path."""
        demand(isinstance(uri, (str, Path)), f"uri must be a str or a Path, got {uri!r}")
        prefix, separator, _ = str(uri).partition("://")
        return prefix.split(":")[-1] if separator else None

    @classmethod
    def infer_client(cls, file_client_args: dict[str, Any] | None = None, uri: StrPath | None = None) -> FileClient:
        """The client that the arguments name, else the one for `uri`."""
        if file_client_args is not None:
            return cls(**file_client_args)
        demand(uri is not None, "file_client_args or uri must say which client it is, and both are None")
        assert uri is not None
        return cls(prefix=cls.parse_uri_prefix(uri))

    @classmethod
    def _register_backend(cls, name: Any, backend: Any, force: bool = False, prefixes: Any = None) -> None:
        wanted = checked(name, backend, prefixes)
        cls._replace(cls._backends, name, backend, force)
        for prefix in wanted:
            cls._replace(cls._prefix_to_backends, prefix, backend, force)

    @classmethod
    def _replace(cls, table: dict[str, Any], name: str, backend: Any, force: bool) -> None:
        if name in table:
            if not force:
                raise KeyError(taken(name))
            for key, instance in list(cls._instances.items()):
                if isinstance(instance.client, table[name]):
                    del cls._instances[key]
        table[name] = backend

    @classmethod
    def register_backend(
        cls, name: Any, backend: Any = None, force: bool = False, prefixes: Any = None
    ) -> Callable[[Any], Any] | None:
        """Add a subclass of BaseStorageBackend, directly or as a decorator; `prefixes` of URLs that it is for."""

        def register(kind: Any) -> Any:
            cls._register_backend(name, kind, force, prefixes)
            return kind

        if backend is None:
            return register
        register(backend)
        return None

    def get(self, filepath: StrPath) -> Any:
        """The bytes of a file."""
        return self.client.get(filepath)

    def get_text(self, filepath: StrPath, encoding: str = "utf-8") -> Any:
        """The text of a file."""
        return self.client.get_text(filepath, encoding)

    def put(self, obj: bytes, filepath: StrPath) -> None:
        """Write bytes."""
        self.client.put(obj, filepath)

    def put_text(self, obj: str, filepath: StrPath) -> None:
        """Write text."""
        self.client.put_text(obj, filepath)

    def remove(self, filepath: StrPath) -> None:
        """Delete a file."""
        self.client.remove(filepath)

    def exists(self, filepath: StrPath) -> Any:
        """Whether there is a file or folder."""
        return self.client.exists(filepath)

    def isdir(self, filepath: StrPath) -> Any:
        """Whether there is a folder."""
        return self.client.isdir(filepath)

    def isfile(self, filepath: StrPath) -> Any:
        """Whether there is a file."""
        return self.client.isfile(filepath)

    def join_path(self, filepath: StrPath, *filepaths: StrPath) -> Any:
        """One path of several parts."""
        return self.client.join_path(filepath, *filepaths)

    @contextmanager
    def get_local_path(self, filepath: StrPath) -> Iterator[Any]:
        """A path on this machine: of the file itself, or of a copy that is there within the block."""
        with self.client.get_local_path(str(filepath)) as path:
            yield path

    def list_dir_or_file(
        self,
        dir_path: StrPath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """Paths in a folder, in any order."""
        yield from self.client.list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)


def _check_known(what: str, name: Any, table: dict[str, Any]) -> None:
    if name is not None and name not in table:
        raise ValueError(
            f"{what} {name} is not supported. Currently supported ones are {list(table)}.{did_you_mean(name, table)}"
        )


__all__ = [
    "BaseStorageBackend",
    "FileClient",
    "HTTPBackend",
    "HardDiskBackend",
    "LmdbBackend",
    "LocalBackend",
    "MemcachedBackend",
    "PetrelBackend",
]
