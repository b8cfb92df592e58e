"""Reading and writing data by the format of a file."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from trainwright.base.text import did_you_mean
from trainwright.compat.mmcv1.fileio.file_client import FileClient
from trainwright.compat.mmcv1.fileio.handlers import BaseFileHandler, JsonHandler, PickleHandler, YamlHandler
from trainwright.compat.mmcv1.utils.misc import is_list_of

file_handlers: dict[str, BaseFileHandler] = {
    "json": JsonHandler(),
    "yaml": YamlHandler(),
    "yml": YamlHandler(),
    "pickle": PickleHandler(),
    "pkl": PickleHandler(),
}


def load(file: Any, file_format: str | None = None, file_client_args: Any = None, **kwargs: Any) -> Any:
    """Read a path, a URL or an open file. `file_format` is the suffix of the path unless given."""
    if isinstance(file, Path):
        file = str(file)
    if file_format is None and isinstance(file, str):
        file_format = file.split(".")[-1]
    handler = _handler(file_format)
    if isinstance(file, str):
        client = FileClient.infer_client(file_client_args, file)
        file = StringIO(client.get_text(file)) if handler.str_like else BytesIO(client.get(file))
    elif not hasattr(file, "read"):
        raise TypeError(f"file must be a path or an open file, got {file!r} of type {type(file).__name__}")
    return handler.load_from_fileobj(file, **kwargs)


def dump(
    obj: Any, file: Any = None, file_format: str | None = None, file_client_args: Any = None, **kwargs: Any
) -> Any:
    """Write to a path, a URL or an open file; without `file` give the text, or the bytes."""
    if isinstance(file, Path):
        file = str(file)
    if file_format is None and isinstance(file, str):
        file_format = file.split(".")[-1]
    if file_format is None and file is None:
        raise ValueError("file_format must be given where there is no file to tell it")
    handler = _handler(file_format)
    if file is None:
        return handler.dump_to_str(obj, **kwargs)
    if isinstance(file, str):
        client = FileClient.infer_client(file_client_args, file)
        if handler.str_like:
            text = StringIO()
            handler.dump_to_fileobj(obj, text, **kwargs)
            client.put_text(text.getvalue(), file)
        else:
            data = BytesIO()
            handler.dump_to_fileobj(obj, data, **kwargs)
            client.put(data.getvalue(), file)
    elif hasattr(file, "write"):
        handler.dump_to_fileobj(obj, file, **kwargs)
    else:
        raise TypeError(f"file must be a path or an open file, got {file!r} of type {type(file).__name__}")
    return None


def _handler(file_format: str | None) -> BaseFileHandler:
    if file_format not in file_handlers:
        raise TypeError(
            f"Unsupported format: {file_format}; there are {', '.join(file_handlers)}."
            f"{did_you_mean(str(file_format), file_handlers)} register_handler adds one"
        )
    return file_handlers[file_format]


def _register_handler(handler: Any, file_formats: Any) -> None:
    if not isinstance(handler, BaseFileHandler):
        raise TypeError(f"handler must be a BaseFileHandler, got {handler!r} of type {type(handler).__name__}")
    formats = [file_formats] if isinstance(file_formats, str) else file_formats
    if not is_list_of(formats, str):
        raise TypeError(f"file_formats must be a str or a list of str, got {file_formats!r}")
    file_handlers.update(dict.fromkeys(formats, handler))


def register_handler(file_formats: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """A decorator: the class, made with `kwargs`, handles these formats."""

    def register(cls: Any) -> Any:
        _register_handler(cls(**kwargs), file_formats)
        return cls

    return register
