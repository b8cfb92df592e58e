"""Storages by the names that MMCV has for them: the disk, what fsspec reaches, HTTP, LMDB."""

from __future__ import annotations

import os
import posixpath
import tempfile
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import urlopen

from trainwright.base.errors import MissingExtraError
from trainwright.base.optional import require
from trainwright.compat.mmcv1.utils.path import mkdir_or_exist


class BaseStorageBackend(metaclass=ABCMeta):
    """A storage: at least `get` and `get_text`. `_allow_symlink`: whether there are links in it."""

    _allow_symlink = False

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def allow_symlink(self) -> bool:
        return self._allow_symlink

    @abstractmethod
    def get(self, filepath: Any) -> Any: ...

    @abstractmethod
    def get_text(self, filepath: Any) -> Any: ...


class HardDiskBackend(BaseStorageBackend):
    """The file system."""

    _allow_symlink = True

    def get(self, filepath: Any) -> bytes:
        with open(filepath, "rb") as file:
            return file.read()

    def get_text(self, filepath: Any, encoding: str = "utf-8") -> str:
        with open(filepath, encoding=encoding) as file:
            return file.read()

    def put(self, obj: Any, filepath: Any) -> None:
        mkdir_or_exist(os.path.dirname(filepath))
        with open(filepath, "wb") as file:
            file.write(obj)

    def put_text(self, obj: str, filepath: Any, encoding: str = "utf-8") -> None:
        mkdir_or_exist(os.path.dirname(filepath))
        with open(filepath, "w", encoding=encoding) as file:
            file.write(obj)

    def remove(self, filepath: Any) -> None:
        os.remove(filepath)

    def exists(self, filepath: Any) -> bool:
        return os.path.exists(filepath)

    def isdir(self, filepath: Any) -> bool:
        return os.path.isdir(filepath)

    def isfile(self, filepath: Any) -> bool:
        return os.path.isfile(filepath)

    def join_path(self, filepath: Any, *filepaths: Any) -> str:
        return str(os.path.join(filepath, *filepaths))

    @contextmanager
    def get_local_path(self, filepath: Any) -> Iterator[Any]:
        yield filepath

    def list_dir_or_file(
        self, dir_path: Any, list_dir: bool = True, list_file: bool = True, suffix: Any = None, recursive: bool = False
    ) -> Iterator[str]:
        """Paths in the folder, hidden ones left out."""
        _check_listing(list_dir, suffix)
        return self._listed(str(dir_path), str(dir_path), list_dir, list_file, suffix, recursive)

    def _listed(
        self, root: str, folder: str, list_dir: bool, list_file: bool, suffix: Any, recursive: bool
    ) -> Iterator[str]:
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            path = os.path.relpath(entry.path, root)
            if entry.is_dir():
                if list_dir:
                    yield path
                if recursive:
                    yield from self._listed(root, entry.path, list_dir, list_file, suffix, recursive)
            elif list_file and not entry.name.startswith(".") and (suffix is None or path.endswith(suffix)):
                yield path


class PetrelBackend(BaseStorageBackend):
    """Object storage by URL, through fsspec: `s3://bucket/key` needs s3fs. `path_mapping`: what begins with a key of it
    begins with its value instead.
    """

    def __init__(self, path_mapping: dict[str, str] | None = None, enable_mc: bool = True) -> None:
        self.path_mapping = path_mapping

    def _map_path(self, filepath: Any) -> str:
        path = str(filepath)
        for key, value in (self.path_mapping or {}).items():
            path = path.replace(key, value, 1)
        return path

    def _opened(self, filepath: Any) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        url = self._map_path(filepath)
        cluster, colon, rest = url.partition(":")
        # 'cluster:s3://...' names a storage in the settings of the one who runs it.
        filesystem, path = url_to_fs(rest if colon and "://" in rest and not rest.startswith("//") else url)
        return filesystem, path

    def get(self, filepath: Any) -> memoryview:
        filesystem, path = self._opened(filepath)
        return memoryview(filesystem.cat_file(path))

    def get_text(self, filepath: Any, encoding: str = "utf-8") -> str:
        return str(self.get(filepath), encoding=encoding)

    def put(self, obj: Any, filepath: Any) -> None:
        filesystem, path = self._opened(filepath)
        filesystem.pipe_file(path, bytes(obj))

    def put_text(self, obj: str, filepath: Any, encoding: str = "utf-8") -> None:
        self.put(obj.encode(encoding), filepath)

    def remove(self, filepath: Any) -> None:
        filesystem, path = self._opened(filepath)
        filesystem.rm_file(path)

    def exists(self, filepath: Any) -> bool:
        filesystem, path = self._opened(filepath)
        return bool(filesystem.exists(path))

    def isdir(self, filepath: Any) -> bool:
        filesystem, path = self._opened(filepath)
        return bool(filesystem.isdir(path))

    def isfile(self, filepath: Any) -> bool:
        filesystem, path = self._opened(filepath)
        return bool(filesystem.isfile(path))

    def join_path(self, filepath: Any, *filepaths: Any) -> str:
        return "/".join([self._map_path(filepath).removesuffix("/"), *map(self._map_path, filepaths)])

    @contextmanager
    def get_local_path(self, filepath: Any) -> Iterator[str]:
        with _local_copy(self.get(filepath)) as path:
            yield path

    def list_dir_or_file(
        self, dir_path: Any, list_dir: bool = True, list_file: bool = True, suffix: Any = None, recursive: bool = False
    ) -> Iterator[str]:
        """Paths below the one given."""
        _check_listing(list_dir, suffix)
        filesystem, root = self._opened(dir_path)
        return self._listed(filesystem, root, root, (list_dir, list_file, suffix, recursive))

    def _listed(self, filesystem: Any, root: str, folder: str, wanted: tuple[Any, ...]) -> Iterator[str]:
        list_dir, list_file, suffix, recursive = wanted
        for entry in filesystem.ls(folder, detail=True):
            path = posixpath.relpath(entry["name"], root)
            if entry["type"] == "directory":
                if list_dir:
                    yield path
                if recursive:
                    yield from self._listed(filesystem, root, entry["name"], wanted)
            elif list_file and (suffix is None or path.endswith(suffix)):
                yield path


class HTTPBackend(BaseStorageBackend):
    """Reading by URL."""

    def get(self, filepath: Any) -> bytes:
        with urlopen(str(filepath)) as reply:
            return bytes(reply.read())

    def get_text(self, filepath: Any, encoding: str = "utf-8") -> str:
        return self.get(filepath).decode(encoding)

    @contextmanager
    def get_local_path(self, filepath: Any) -> Iterator[str]:
        with _local_copy(self.get(filepath)) as path:
            yield path


class LmdbBackend(BaseStorageBackend):
    """The values of an LMDB database by their keys."""

    def __init__(
        self, db_path: Any, readonly: bool = True, lock: bool = False, readahead: bool = False, **kwargs: Any
    ) -> None:
        require("lmdb", None, "LmdbBackend", "pip install lmdb")
        self.db_path = str(db_path)
        self.readonly = readonly
        self.lock = lock
        self.readahead = readahead
        self.kwargs = kwargs
        self._client: Any = None

    def get(self, filepath: Any) -> Any:
        if self._client is None:
            self._client = self._get_client()
        with self._client.begin(write=False) as transaction:
            return transaction.get(str(filepath).encode("utf-8"))

    def get_text(self, filepath: Any, encoding: str | None = None) -> str:
        raise NotImplementedError("LmdbBackend gives bytes: use get")

    def _get_client(self) -> Any:
        import lmdb  # type: ignore[import-not-found, import-untyped, unused-ignore]

        return lmdb.open(self.db_path, readonly=self.readonly, lock=self.lock, readahead=self.readahead, **self.kwargs)

    def __del__(self) -> None:
        if getattr(self, "_client", None) is not None:
            self._client.close()


class _NotHere(BaseStorageBackend):
    """A storage whose client is no public package."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise MissingExtraError(
            f"{self.name} needs a client that is no public package. 'petrel' reaches what fsspec knows by URL; another "
            "storage is added by FileClient.register_backend."
        )

    def get(self, filepath: Any) -> Any:
        raise NotImplementedError

    def get_text(self, filepath: Any) -> Any:
        raise NotImplementedError


class CephBackend(_NotHere):
    """Ceph's own client."""


class MemcachedBackend(_NotHere):
    """A memcached client."""


@contextmanager
def _local_copy(data: Any) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "file")
        with open(path, "wb") as file:
            file.write(data)
        yield path


def _check_listing(list_dir: bool, suffix: Any) -> None:
    if list_dir and suffix is not None:
        raise TypeError(f"suffix is for files: set list_dir=False with suffix={suffix!r}")
    if suffix is not None and not isinstance(suffix, (str, tuple)):
        raise TypeError(f"suffix must be a str or a tuple of str, got {suffix!r} of type {type(suffix).__name__}")
