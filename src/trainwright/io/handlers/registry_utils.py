"""The formats by the suffixes of their files."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from trainwright.base.errors import add_note
from trainwright.base.text import did_you_mean
from trainwright.io.handlers.base import BaseFileHandler
from trainwright.io.handlers.json_handler import JsonHandler
from trainwright.io.handlers.pickle_handler import PickleHandler
from trainwright.io.handlers.yaml_handler import YamlHandler

file_handlers: dict[str, BaseFileHandler] = {
    "json": JsonHandler(),
    "yaml": YamlHandler(),
    "yml": YamlHandler(),
    "pickle": PickleHandler(),
    "pkl": PickleHandler(),
}


class _NamedBytes(BytesIO):
    """The bytes of a file that has been read, and where they are from."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _register_handler(handler: Any, file_formats: Any, table: dict[str, BaseFileHandler] = file_handlers) -> None:
    if not isinstance(handler, BaseFileHandler):
        raise TypeError(f"handler must be a child of BaseFileHandler, not {handler!r} of type {type(handler).__name__}")
    formats = [file_formats] if isinstance(file_formats, str) else file_formats
    if not isinstance(formats, list) or not all(isinstance(item, str) for item in formats):
        raise TypeError(f"file_formats must be a str or a list of str, got {file_formats!r}")
    table.update(dict.fromkeys(formats, handler))


def register_handler(file_formats: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """A decorator: the class, made with `kwargs`, handles files with these suffixes."""

    def register(cls: Any) -> Any:
        _register_handler(cls(**kwargs), file_formats)
        return cls

    return register


def handler_of(file: Any, file_format: str | None, table: dict[str, BaseFileHandler]) -> BaseFileHandler:
    """The handler of that format, or else of the suffix of a path; TypeError if there is none."""
    if file_format is None and isinstance(file, (str, Path)):
        file_format = str(file).rpartition(".")[2]
    if file_format not in table:
        raise TypeError(
            f"Unsupported format: {file_format}; there are {', '.join(table)}."
            f"{did_you_mean(str(file_format), table)} register_handler adds one"
        )
    return table[file_format]


def load_by(handler: BaseFileHandler, file: Any, storage_of: Callable[[str], Any], kwargs: dict[str, Any]) -> Any:
    """The value at a path, in the storage that `storage_of` gives for it, or in an open file."""
    if isinstance(file, (str, Path)):
        path = str(file)
        storage = storage_of(path)
        content = StringIO(storage.get_text(path)) if handler.str_like else _NamedBytes(storage.get(path), path)
        with content:
            try:
                return handler.load_from_fileobj(content, **kwargs)
            except Exception as error:
                if path not in str(error):  # what reads JSON or YAML knows lines, and no file
                    add_note(error, f"This was raised when {path} was read.")
                raise
    if not hasattr(file, "read"):
        raise TypeError(f'"file" must be a filepath str or a file-object, got {file!r} of type {type(file).__name__}')
    return handler.load_from_fileobj(file, **kwargs)


def dump_by(
    handler: BaseFileHandler, obj: Any, file: Any, storage_of: Callable[[str], Any], kwargs: dict[str, Any]
) -> Any:
    """Write a value to a path or into an open file; without one give the text, or the bytes."""
    if file is None:
        return handler.dump_to_str(obj, **kwargs)
    if isinstance(file, (str, Path)):
        path = str(file)
        storage = storage_of(path)
        if handler.str_like:
            with StringIO() as text:
                handler.dump_to_fileobj(obj, text, **kwargs)
                storage.put_text(text.getvalue(), path)
        else:
            with BytesIO() as data:
                handler.dump_to_fileobj(obj, data, **kwargs)
                storage.put(data.getvalue(), path)
    elif hasattr(file, "write"):
        handler.dump_to_fileobj(obj, file, **kwargs)
    else:
        raise TypeError(f'"file" must be a filename str or a file-object, got {file!r} of type {type(file).__name__}')
    return None


def must_have_format(file: Any, file_format: str | None) -> None:
    """ValueError where neither a file nor a format says what is to be written."""
    if file is None and file_format is None:
        raise ValueError("file_format must be specified since file is None: json, yaml, pkl or one of your own")
