"""What reads and writes one format."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from io import BytesIO, StringIO
from typing import Any

from trainwright.io.backends.local_backend import LocalBackend


class BaseFileHandler(metaclass=ABCMeta):
    """`str_like`: its files are text; otherwise bytes."""

    str_like = True

    @abstractmethod
    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """The value in an open file."""

    @abstractmethod
    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> Any:
        """Write a value into an open file."""

    @abstractmethod
    def dump_to_str(self, obj: Any, **kwargs: Any) -> Any:
        """A value as the text, or bytes, that a file of it would have."""

    def load_from_path(self, filepath: Any, mode: str = "r", **kwargs: Any) -> Any:
        """The value in a local file."""
        with open(filepath, mode) as file:
            return self.load_from_fileobj(file, **kwargs)

    def dump_to_path(self, obj: Any, filepath: Any, mode: str = "w", **kwargs: Any) -> None:
        """Write a value to a local file, which appears as a whole."""
        if mode == "w":
            with StringIO() as text:
                self.dump_to_fileobj(obj, text, **kwargs)
                LocalBackend().put_text(text.getvalue(), filepath)
        elif mode == "wb":
            with BytesIO() as data:
                self.dump_to_fileobj(obj, data, **kwargs)
                LocalBackend().put(data.getvalue(), filepath)
        else:
            with open(filepath, mode) as file:
                self.dump_to_fileobj(obj, file, **kwargs)
