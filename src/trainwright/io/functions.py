"""Files on any storage by functions. A path or URL says which storage it is, or `backend_args` does.

`backend_args` with the key `backend` names one that is registered; its other keys are arguments of its class. Without
that key the prefix of the URL decides: none for this machine, http, https, s3, petrel, those that `register_backend`
was given, and any protocol of fsspec. Equal arguments share one object.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainwright.base.errors import RegistryError, demand
from trainwright.base.text import did_you_mean
from trainwright.io.backends import backends, prefix_to_backends
from trainwright.io.backends.fsspec_backend import FsspecBackend, knows
from trainwright.io.file_client import FileClient
from trainwright.io.handlers import file_handlers, register_handler
from trainwright.io.handlers.registry_utils import dump_by, handler_of, load_by, must_have_format
from trainwright.io.storage import is_url

StrPath = str | Path
BackendArgs = dict[str, Any] | None

backend_instances: dict[str, Any] = {}


def _parse_uri_prefix(uri: StrPath) -> str:
    """'s3' of 's3://bucket/key' and of 'cluster:s3://bucket/key', '' of a path; of a chain of fsspec's the first."""
    demand(isinstance(uri, (str, Path)), f"uri must be a str or a Path, got {uri!r} of type {type(uri).__name__}")
    if not is_url(str(uri)):
        return ""
    prefix = str(uri).partition("://")[0]
    return prefix.partition("::")[0] if "::" in prefix else prefix.rpartition(":")[2]


def _backend_class(prefix: str, backend_args: dict[str, Any]) -> Any:
    if "backend" in backend_args:
        name = backend_args["backend"]
        if name not in backends:
            raise RegistryError(
                f"there is no storage backend {name!r}; there are {', '.join(backends)}.{did_you_mean(name, backends)} "
                "register_backend adds one"
            )
        return backends[name]
    if prefix in prefix_to_backends:
        return prefix_to_backends[prefix]
    if knows(prefix):
        return FsspecBackend
    known = [name for name in prefix_to_backends if name]
    raise RegistryError(
        f"no storage is known for {prefix + '://'!r}; there are {', '.join(known)} and the protocols of fsspec."
        f"{did_you_mean(prefix, known)} register_backend(..., prefixes={prefix!r}) adds one"
    )


def _get_file_backend(prefix: str, backend_args: dict[str, Any]) -> Any:
    arguments = {key: value for key, value in backend_args.items() if key != "backend"}
    return _backend_class(prefix, backend_args)(**arguments)


def get_file_backend(
    uri: StrPath | None = None, *, backend_args: BackendArgs = None, enable_singleton: bool = False
) -> Any:
    """The storage that `backend_args` names, else the one for `uri`. `enable_singleton`: the object that was made for
    equal arguments before. RegistryError for one that is not known.
    """
    backend_args = {} if backend_args is None else backend_args
    if uri is None and "backend" not in backend_args:
        raise ValueError(
            'uri should not be None when "backend" does not exist in backend_args: one must name a storage'
        )
    prefix = "" if uri is None else _parse_uri_prefix(uri)
    if not enable_singleton:
        return _get_file_backend(prefix, backend_args)
    try:
        key = f"{prefix}:{json.dumps(backend_args)}"
    except TypeError:  # arguments that have no text by which to know them again
        return _get_file_backend(prefix, backend_args)
    found = backend_instances.get(key)
    if found is None or type(found) is not _backend_class(prefix, backend_args):  # registered anew since then
        found = backend_instances[key] = _get_file_backend(prefix, backend_args)
    return found


def _shared(uri: StrPath, backend_args: BackendArgs) -> Any:
    return get_file_backend(uri, backend_args=backend_args, enable_singleton=True)


def get(filepath: StrPath, backend_args: BackendArgs = None) -> bytes:
    """The bytes of a file."""
    data: bytes = _shared(filepath, backend_args).get(filepath)
    return data


def get_text(filepath: StrPath, encoding: str = "utf-8", backend_args: BackendArgs = None) -> str:
    """The text of a file."""
    text: str = _shared(filepath, backend_args).get_text(filepath, encoding)
    return text


def put(obj: bytes, filepath: StrPath, backend_args: BackendArgs = None) -> None:
    """Write bytes; folders are made, and a local file appears as a whole."""
    _shared(filepath, backend_args).put(obj, filepath)


def put_text(obj: str, filepath: StrPath, backend_args: BackendArgs = None) -> None:
    """Write text; folders are made, and a local file appears as a whole."""
    _shared(filepath, backend_args).put_text(obj, filepath)


def exists(filepath: StrPath, backend_args: BackendArgs = None) -> bool:
    """Whether there is a file or folder."""
    found: bool = _shared(filepath, backend_args).exists(filepath)
    return found


def isdir(filepath: StrPath, backend_args: BackendArgs = None) -> bool:
    """Whether there is a folder."""
    found: bool = _shared(filepath, backend_args).isdir(filepath)
    return found


def isfile(filepath: StrPath, backend_args: BackendArgs = None) -> bool:
    """Whether there is a file."""
    found: bool = _shared(filepath, backend_args).isfile(filepath)
    return found


def join_path(filepath: StrPath, *filepaths: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """One path of several parts."""
    path: StrPath = _shared(filepath, backend_args).join_path(filepath, *filepaths)
    return path


@contextmanager
def get_local_path(filepath: StrPath, backend_args: BackendArgs = None) -> Iterator[StrPath]:
    """A path on this machine: of the file itself, or of a copy that is there within the block."""
    with _shared(filepath, backend_args).get_local_path(str(filepath)) as path:
        yield path


def copyfile(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """Copy a file within a storage, to `dst` or into it if it is a folder; returns where it is."""
    _must_share(src, dst, "copyfile", backend_args)
    path: StrPath = _shared(src, backend_args).copyfile(src, dst)
    return path


def copytree(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """Copy a folder within a storage, to `dst`, which must not exist; returns where it is."""
    _must_share(src, dst, "copytree", backend_args)
    path: StrPath = _shared(src, backend_args).copytree(src, dst)
    return path


def copyfile_from_local(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """Copy a file of this machine to a storage, to `dst` or into it if it is a folder; returns where it is."""
    path: StrPath = _shared(dst, backend_args).copyfile_from_local(src, dst)
    return path


def copytree_from_local(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """Copy a folder of this machine to a storage, to `dst`, which must not exist; returns where it is."""
    path: StrPath = _shared(dst, backend_args).copytree_from_local(src, dst)
    return path


def copyfile_to_local(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """Copy a file of a storage to this machine, to `dst` or into it if it is a folder; returns where it is."""
    path: StrPath = _shared(src, backend_args).copyfile_to_local(src, dst)
    return path


def copytree_to_local(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> StrPath:
    """Copy a folder of a storage to this machine; returns where it is."""
    path: StrPath = _shared(src, backend_args).copytree_to_local(src, dst)
    return path


def _must_share(src: StrPath, dst: StrPath, what: str, backend_args: BackendArgs) -> None:
    if backend_args:  # they may map paths, or name the storage of both
        return
    first, second = _parse_uri_prefix(src), _parse_uri_prefix(dst)
    if first != second:
        raise ValueError(
            f"{what} copies within one storage, and src {str(src)!r} and dst {str(dst)!r} lie in two: take "
            "copyfile_from_local, copytree_from_local, copyfile_to_local or copytree_to_local, or put(get(src), dst)"
        )


def remove(filepath: StrPath, backend_args: BackendArgs = None) -> None:
    """Delete a file; FileNotFoundError, IsADirectoryError."""
    _shared(filepath, backend_args).remove(filepath)


def rmtree(dir_path: StrPath, backend_args: BackendArgs = None) -> None:
    """Delete a folder and all in it."""
    _shared(dir_path, backend_args).rmtree(dir_path)


def copy_if_symlink_fails(src: StrPath, dst: StrPath, backend_args: BackendArgs = None) -> bool:
    """Make `dst` a link to `src`, or copy it where that cannot be; returns whether there is a link."""
    _must_share(src, dst, "copy_if_symlink_fails", backend_args)
    is_link: bool = _shared(src, backend_args).copy_if_symlink_fails(src, dst)
    return is_link


def list_dir_or_file(
    dir_path: StrPath,
    list_dir: bool = True,
    list_file: bool = True,
    suffix: str | tuple[str, ...] | None = None,
    recursive: bool = False,
    backend_args: BackendArgs = None,
) -> Iterator[str]:
    """The paths in a folder, relative to it, in any order. `suffix` is for files, and wants `list_dir=False`."""
    yield from _shared(dir_path, backend_args).list_dir_or_file(dir_path, list_dir, list_file, suffix, recursive)


def generate_presigned_url(
    url: str, client_method: str = "get_object", expires_in: int = 3600, backend_args: BackendArgs = None
) -> str:
    """A URL by which anybody may do what `client_method` names ('get_object', 'put_object') for so many seconds."""
    signed: str = _shared(url, backend_args).generate_presigned_url(url, client_method, expires_in)
    return signed


def load(
    file: Any, file_format: str | None = None, file_client_args: Any = None, backend_args: Any = None, **kwargs: Any
) -> Any:
    """The value in a file: at a path or URL, or open. `file_format` is the suffix of the path unless given.

    json, yaml and yml are data. A pickle (pkl, pickle) is refused without `trusted=True`, because reading it runs what
    it says. `kwargs` go to the handler.
    """
    handler = handler_of(file, file_format, file_handlers)
    return load_by(handler, file, _storage(file_client_args, backend_args), kwargs)


def dump(
    obj: Any,
    file: Any = None,
    file_format: str | None = None,
    file_client_args: Any = None,
    backend_args: Any = None,
    **kwargs: Any,
) -> Any:
    """Write a value to a path or URL, or into an open file; without `file` give the text, or the bytes of a pickle.
    `file_format` is the suffix of the path unless given; `kwargs` go to the handler.
    """
    must_have_format(file, file_format)
    handler = handler_of(file, file_format, file_handlers)
    return dump_by(handler, obj, file, _storage(file_client_args, backend_args), kwargs)


def _storage(file_client_args: Any, backend_args: Any) -> Any:
    if asks_for_client(file_client_args, backend_args):
        return lambda path: FileClient.infer_client(file_client_args, path)
    return lambda path: get_file_backend(path, backend_args=backend_args)


def asks_for_client(file_client_args: Any, backend_args: Any) -> bool:
    """Whether the older argument is given, which is warned of; ValueError if the newer one is given too."""
    if file_client_args is None:
        return False
    warnings.warn(
        '"file_client_args" will be deprecated in future: use "backend_args", which takes the same storages by name',
        DeprecationWarning,
        stacklevel=4,
    )
    if backend_args is not None:
        raise ValueError('"file_client_args" and "backend_args" cannot be set at the same time: leave the first out')
    return True


__all__ = [
    "FileClient",
    "backend_instances",
    "backends",
    "copy_if_symlink_fails",
    "copyfile",
    "copyfile_from_local",
    "copyfile_to_local",
    "copytree",
    "copytree_from_local",
    "copytree_to_local",
    "dump",
    "exists",
    "file_handlers",
    "generate_presigned_url",
    "get",
    "get_file_backend",
    "get_local_path",
    "get_text",
    "isdir",
    "isfile",
    "join_path",
    "list_dir_or_file",
    "load",
    "prefix_to_backends",
    "put",
    "put_text",
    "register_handler",
    "remove",
    "rmtree",
]
