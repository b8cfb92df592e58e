"""Reading and writing data by the format of a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.compat.mmcv1.fileio.file_client import FileClient
from trainwright.compat.mmcv1.fileio.handlers import BaseFileHandler, JsonHandler, PickleHandler, YamlHandler
from trainwright.io.handlers.registry_utils import _register_handler, dump_by, handler_of, load_by, must_have_format

file_handlers: dict[str, BaseFileHandler] = {
    "json": JsonHandler(),
    "yaml": YamlHandler(),
    "yml": YamlHandler(),
    "pickle": PickleHandler(),
    "pkl": PickleHandler(),
}


def load(file: Any, file_format: str | None = None, file_client_args: Any = None, **kwargs: Any) -> Any:
    """Read a path, a URL or an open file. `file_format` is the suffix of the path unless given."""
    handler = handler_of(file, file_format, file_handlers)
    return load_by(handler, file, lambda path: FileClient.infer_client(file_client_args, path), kwargs)


def dump(
    obj: Any, file: Any = None, file_format: str | None = None, file_client_args: Any = None, **kwargs: Any
) -> Any:
    """Write to a path, a URL or an open file; without `file` give the text, or the bytes."""
    must_have_format(file, file_format)
    handler = handler_of(file, file_format, file_handlers)
    return dump_by(handler, obj, file, lambda path: FileClient.infer_client(file_client_args, path), kwargs)


def register_handler(file_formats: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """A decorator: the class, made with `kwargs`, handles these formats."""

    def register(cls: Any) -> Any:
        _register_handler(cls(**kwargs), file_formats, file_handlers)
        return cls

    return register
