"""What every storage is derived from."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from typing import Any

from trainwright.base.errors import RuleTypeError, UnsupportedOperationError

OPERATIONS = frozenset(
    (
        *("put", "put_text", "exists", "isdir", "isfile", "join_path", "list_dir_or_file", "remove", "rmtree"),
        *("get_local_path", "copyfile", "copytree", "copyfile_from_local", "copytree_from_local"),
        *("copyfile_to_local", "copytree_to_local", "copy_if_symlink_fails", "generate_presigned_url"),
    )
)


def encoded(text: str, encoding: str) -> bytes:
    """What `put_text` writes; RuleTypeError for what is no text."""
    if not isinstance(text, str):
        raise RuleTypeError(f"put_text writes a str, got {type(text).__name__}: bytes are written by put")
    return text.encode(encoding)


class BaseStorageBackend(metaclass=ABCMeta):
    """A storage: at least `get` and `get_text`. Another of the :data:`OPERATIONS` that a class does not have raises
    UnsupportedOperationError, which is an AttributeError and a NotImplementedError.
    """

    _allow_symlink = False

    @property
    def allow_symlink(self) -> bool:
        """Whether there are links in it."""
        return self._allow_symlink

    @property
    def name(self) -> str:
        """The name of the class."""
        return type(self).__name__

    @abstractmethod
    def get(self, filepath: Any) -> Any:
        """The bytes of a file."""

    @abstractmethod
    def get_text(self, filepath: Any) -> Any:
        """The text of a file."""

    def __getattr__(self, name: str) -> Any:
        kind = type(self).__name__
        if name not in OPERATIONS:
            raise AttributeError(f"{kind!r} object has no attribute {name!r}")
        there = sorted(item for item in OPERATIONS if hasattr(type(self), item))
        raise UnsupportedOperationError(
            f"{kind} has no {name}; it has get, get_text{''.join(f', {item}' for item in there)}. Name another storage "
            "by backend_args=dict(backend=...), or write the method in a class of your own and register_backend it"
        )
