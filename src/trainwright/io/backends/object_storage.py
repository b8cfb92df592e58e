"""A storage of objects by URL: all operations, on a client that has the few of which they are made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import SameFileError
from typing import Any

from trainwright.base.errors import UnsupportedOperationError
from trainwright.io.backends.base import BaseStorageBackend, encoded
from trainwright.io.backends.listing import check_listing, local_copy
from trainwright.io.backends.local_backend import LocalBackend

StrPath = str | Path


class ObjectStorageBackend(BaseStorageBackend):
    """`_client` has the methods of petrel's client: Get, put, contains, isdir, delete, list and generate_presigned_url,
    or some of them. `path_mapping`: of a path that has a key of it, that part becomes its value.
    """

    _client: Any
    path_mapping: dict[str, str] | None = None

    def _map_path(self, filepath: StrPath) -> str:
        path = str(filepath)
        for key, value in (self.path_mapping or {}).items():
            path = path.replace(key, value, 1)
        return path

    def _format_path(self, filepath: str) -> str:
        return re.sub(r"\\+", "/", filepath)

    def _replace_prefix(self, filepath: StrPath) -> str:
        return str(filepath)

    def _url(self, filepath: StrPath) -> str:
        """What the client is told."""
        return self._replace_prefix(self._mapped(filepath))

    def _mapped(self, filepath: StrPath) -> str:
        return self._format_path(self._map_path(filepath))

    def _need(self, *methods: str) -> None:
        for method in methods:
            if not callable(getattr(self._client, method, None)):
                raise UnsupportedOperationError(
                    f"the client of {self.name}, a {type(self._client).__name__}, has no method {method!r}: install a "
                    "newer version of it"
                )

    def get(self, filepath: StrPath) -> Any:
        """The bytes of an object."""
        return self._client.Get(self._url(filepath))

    def get_text(self, filepath: StrPath, encoding: str = "utf-8") -> str:
        """The text of an object."""
        return str(self.get(filepath), encoding=encoding)

    def put(self, obj: bytes, filepath: StrPath) -> None:
        """Write an object."""
        self._client.put(self._url(filepath), obj)

    def put_text(self, obj: str, filepath: StrPath, encoding: str = "utf-8") -> None:
        """Write an object that is text."""
        self.put(encoded(obj, encoding), filepath)

    def exists(self, filepath: StrPath) -> bool:
        """Whether there is an object, or a folder of them."""
        self._need("contains", "isdir")
        url = self._url(filepath)
        return bool(self._client.contains(url) or self._client.isdir(url))

    def isdir(self, filepath: StrPath) -> bool:
        """Whether objects lie below."""
        self._need("isdir")
        return bool(self._client.isdir(self._url(filepath)))

    def isfile(self, filepath: StrPath) -> bool:
        """Whether there is an object."""
        self._need("contains")
        return bool(self._client.contains(self._url(filepath)))

    def join_path(self, filepath: StrPath, *filepaths: StrPath) -> str:
        """The parts, mapped, with one slash between each."""
        return "/".join([self._mapped(filepath).removesuffix("/"), *(self._mapped(p).lstrip("/") for p in filepaths)])

    @contextmanager
    def get_local_path(self, filepath: StrPath) -> Iterator[StrPath]:
        """A copy on this machine, deleted at the end of the block."""
        if not self.isfile(filepath):
            raise FileNotFoundError(f"{self.name} has no file {self._url(filepath)!r} of which to make a local copy")
        with local_copy(self.get(filepath), str(filepath)) as path:
            yield path

    def copyfile(self, src: StrPath, dst: StrPath) -> str:
        """Copy an object to `dst`, or into it if it is a folder; returns where it is."""
        target = self._into(src, dst)
        if self._mapped(src) == self._mapped(target):
            raise SameFileError(f"src and dst should not be same, and both are {self._mapped(src)!r}")
        self.put(self.get(src), target)
        return self._mapped(target)

    def copytree(self, src: StrPath, dst: StrPath) -> str:
        """Copy what lies below `src` to `dst`, where nothing must be."""
        self._must_be_free(dst)
        for path in list(self.list_dir_or_file(src, list_dir=False, recursive=True)):
            self.put(self.get(_below(src, path)), _below(dst, path))
        return self._mapped(dst)

    def copyfile_from_local(self, src: StrPath, dst: StrPath) -> str:
        """Upload a file to `dst`, or into it if it is a folder; returns where it is."""
        target = self._into(src, dst)
        with open(src, "rb") as file:
            self.put(file.read(), target)
        return self._mapped(target)

    def copytree_from_local(self, src: StrPath, dst: StrPath) -> str:
        """Upload a folder to `dst`, where nothing must be."""
        self._must_be_free(dst)
        for folder, _, names in os.walk(src):
            for name in names:
                path = os.path.join(folder, name)
                inside = os.path.relpath(path, src).replace(os.sep, "/")
                self.copyfile_from_local(path, _below(dst, inside))
        return self._mapped(dst)

    def copyfile_to_local(self, src: StrPath, dst: StrPath) -> StrPath:
        """Download to `dst`, or into it if it is a folder; returns where it is."""
        if os.path.isdir(dst):
            name = str(src).rstrip("/").rpartition("/")[2]
            dst = dst / name if isinstance(dst, Path) else os.path.join(dst, name)
        LocalBackend().put(self.get(src), dst)
        return dst

    def copytree_to_local(self, src: StrPath, dst: StrPath) -> StrPath:
        """Download what lies below `src` into the folder `dst`."""
        for path in self.list_dir_or_file(src, list_dir=False, recursive=True):
            LocalBackend().put(self.get(_below(src, path)), os.path.join(dst, path))
        return dst

    def remove(self, filepath: StrPath) -> None:
        """Delete an object; FileNotFoundError, IsADirectoryError."""
        self._need("delete")
        if not self.exists(filepath):
            raise FileNotFoundError(f"filepath {filepath} does not exist")
        if self.isdir(filepath):
            raise IsADirectoryError(f"filepath should be a file, and {filepath} is a folder: rmtree deletes that")
        self._client.delete(self._url(filepath))

    def rmtree(self, dir_path: StrPath) -> None:
        """Delete all that lies below."""
        for path in list(self.list_dir_or_file(dir_path, list_dir=False, recursive=True)):
            self.remove(_below(dir_path, path))

    def copy_if_symlink_fails(self, src: StrPath, dst: StrPath) -> bool:
        """Copy: there are no links. Returns False."""
        copy = self.copyfile if self.isfile(src) else self.copytree
        copy(src, dst)
        return False

    def list_dir_or_file(
        self,
        dir_path: StrPath,
        list_dir: bool = True,
        list_file: bool = True,
        suffix: str | tuple[str, ...] | None = None,
        recursive: bool = False,
    ) -> Iterator[str]:
        """The paths below `dir_path`, relative to it, in any order. `suffix` is for files, and wants
        `list_dir=False`.
        """
        self._need("list")
        check_listing(list_dir, suffix)
        return self._listed(f"{self._url(dir_path).removesuffix('/')}/", "", (list_dir, list_file, suffix, recursive))

    def _listed(self, folder: str, inside: str, wanted: tuple[bool, bool, Any, bool]) -> Iterator[str]:
        list_dir, list_file, suffix, recursive = wanted
        for name in self._client.list(folder):
            path = inside + name.lstrip("/")
            if path.endswith("/"):  # a folder
                if list_dir:
                    yield path[:-1]
                if recursive:
                    yield from self._listed(folder + name.lstrip("/"), path, wanted)
            elif list_file and (suffix is None or path.endswith(suffix)):
                yield path

    def generate_presigned_url(self, url: str, client_method: str = "get_object", expires_in: int = 3600) -> str:
        """A URL by which anybody may do what `client_method` names ('get_object', 'put_object') for so many seconds."""
        self._need("generate_presigned_url")
        return str(self._client.generate_presigned_url(self._mapped(url), client_method, expires_in))

    def _into(self, src: StrPath, dst: StrPath) -> StrPath:
        """`dst`, or the place below it if it is a folder."""
        name = re.split(r"[\\/]", str(src))[-1]
        return _below(dst, name) if self.isdir(dst) else dst

    def _must_be_free(self, dst: StrPath) -> None:
        if self.exists(dst):
            raise FileExistsError(f"dst should not exist, and {dst} does: remove it first by rmtree")


def _below(folder: StrPath, path: str) -> str:
    """Not mapped: the operation that is given it does that, once."""
    return f"{str(folder).rstrip('/')}/{path}"
