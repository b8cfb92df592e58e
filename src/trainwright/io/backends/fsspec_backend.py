"""Any storage that fsspec reaches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainwright.base.errors import MissingExtraError, UnsupportedOperationError
from trainwright.io.backends.local_backend import LocalBackend
from trainwright.io.backends.object_storage import ObjectStorageBackend, StrPath


class FsspecBackend(ObjectStorageBackend):
    """Every URL with a protocol of fsspec: `s3://`, `gs://`, `memory://`, `simplecache::s3://`. `storage_options` go to
    the class of its file system.
    """

    def __init__(self, path_mapping: dict[str, str] | None = None, **storage_options: Any) -> None:
        self.path_mapping = path_mapping
        self._client = FsspecClient(storage_options)

    def rmtree(self, dir_path: StrPath) -> None:
        """Delete a folder and all in it, in one request where the storage has one."""
        self._client.delete_tree(self._url(dir_path))


class FsspecClient:
    """fsspec under the names of petrel's client. `cluster:s3://bucket/key` is `s3://bucket/key`: what a cluster is
    called is in the settings of petrel's client.
    """

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        self._options = options or {}

    def _opened(self, url: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs  # lazy: fsspec is needed for URLs only

        first, separator, rest = url.partition("://")
        if separator and "::" not in first:
            url = f"{first.rpartition(':')[2]}://{rest}"
        try:
            filesystem, path = url_to_fs(url.replace("petrel://", "s3://", 1), **self._options)
        except ImportError as error:
            raise MissingExtraError(
                f"{url!r} is reached through fsspec, which has no package for it: {error}"
            ) from error
        return filesystem, path

    def _fresh(self, url: str) -> tuple[Any, str]:
        """Without what was listed before: others may have written."""
        filesystem, path = self._opened(url)
        filesystem.invalidate_cache()
        return filesystem, path

    def Get(self, url: str) -> bytes:
        filesystem, path = self._opened(url)
        return bytes(filesystem.cat_file(path))

    def put(self, url: str, data: Any) -> None:
        filesystem, path = self._opened(url)
        if _is_local(filesystem):
            LocalBackend().put(data, path)
            return
        try:
            filesystem.pipe_file(path, bytes(data))
        except FileNotFoundError:  # a storage with folders
            filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            filesystem.pipe_file(path, bytes(data))

    def contains(self, url: str) -> bool:
        filesystem, path = self._fresh(url)
        return bool(filesystem.isfile(path))

    def isdir(self, url: str) -> bool:
        filesystem, path = self._fresh(url)
        return bool(filesystem.isdir(path))

    def delete(self, url: str) -> None:
        filesystem, path = self._opened(url)
        filesystem.rm_file(path)

    def delete_tree(self, url: str) -> None:
        filesystem, path = self._fresh(url)
        if not filesystem.isdir(path):
            raise FileNotFoundError(f"there is no folder {url!r}; remove deletes a file")
        filesystem.rm(path, recursive=True)

    def list(self, url: str) -> Iterator[str]:
        """The names in a folder; those of folders end in a slash."""
        filesystem, path = self._fresh(url)
        for entry in filesystem.ls(path, detail=True):
            name = entry["name"].rstrip("/")
            if name != path.rstrip("/"):  # some storages have an object that marks the folder
                yield name.rpartition("/")[2] + ("/" if entry["type"] == "directory" else "")

    def generate_presigned_url(self, url: str, client_method: str, expires_in: int) -> str:
        filesystem, path = self._opened(url)
        kwargs = {} if client_method == "get_object" else {"client_method": client_method}
        try:
            return str(filesystem.sign(path, expiration=expires_in, **kwargs))
        except NotImplementedError as error:
            raise UnsupportedOperationError(f"the storage of {url!r} gives no signed URLs: {error}") from error


def knows(protocol: str) -> bool:
    """Whether fsspec has a file system for that protocol, installed or not."""
    from fsspec.registry import known_implementations, registry

    return protocol in known_implementations or protocol in registry


def _is_local(filesystem: Any) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return type(filesystem) is LocalFileSystem
