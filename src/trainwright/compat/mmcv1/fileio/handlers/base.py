"""What reads and writes one format."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any


class BaseFileHandler(metaclass=ABCMeta):
    """`str_like`: its files are text; otherwise bytes."""

    str_like = True

    @abstractmethod
    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> Any: ...

    @abstractmethod
    def dump_to_str(self, obj: Any, **kwargs: Any) -> Any: ...

    def load_from_path(self, filepath: str, mode: str = "r", **kwargs: Any) -> Any:
        with open(filepath, mode) as file:
            return self.load_from_fileobj(file, **kwargs)

    def dump_to_path(self, obj: Any, filepath: str, mode: str = "w", **kwargs: Any) -> None:
        with open(filepath, mode) as file:
            self.dump_to_fileobj(obj, file, **kwargs)
