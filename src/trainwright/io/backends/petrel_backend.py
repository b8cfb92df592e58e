"""`s3://` and `petrel://`: through petrel's client where that is installed, else through fsspec."""

from __future__ import annotations

from typing import Any

from trainwright.base.errors import demand
from trainwright.io.backends.fsspec_backend import FsspecClient
from trainwright.io.backends.object_storage import ObjectStorageBackend, StrPath


class PetrelBackend(ObjectStorageBackend):
    """Object storage. `path_mapping`: of a path that has a key of it, that part becomes its value. `enable_mc` and
    `conf_path` are settings of petrel's client. Without that client fsspec is used, which needs s3fs; for options such
    as an endpoint take `backend="fsspec"`, the next simpler thing.
    """

    def __init__(
        self, path_mapping: dict[str, str] | None = None, enable_mc: bool = True, conf_path: str | None = None
    ) -> None:
        demand(
            path_mapping is None or isinstance(path_mapping, dict),
            f"path_mapping must be a dict of what is replaced by what, got {path_mapping!r}",
        )
        self._client = _client(enable_mc, conf_path)
        self.path_mapping = path_mapping

    def _replace_prefix(self, filepath: StrPath) -> str:
        return str(filepath).replace("petrel://", "s3://")

    def rmtree(self, dir_path: StrPath) -> None:
        """Delete a folder and all in it, in one request where the client has one."""
        if isinstance(self._client, FsspecClient):
            self._client.delete_tree(self._url(dir_path))
        else:
            super().rmtree(dir_path)


def _client(enable_mc: bool, conf_path: str | None) -> Any:
    try:
        from petrel_client import client  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        return FsspecClient()
    return client.Client(conf_path=conf_path, enable_mc=enable_mc)
