"""Pickles. Reading one runs what it says, so that who reads it must trust its maker."""

from __future__ import annotations

import pickle
from typing import Any

from trainwright.base.defaults import defaults
from trainwright.base.errors import DataError
from trainwright.base.logs import MMLogger
from trainwright.io.handlers.base import BaseFileHandler

_warned: set[str] = set()  # files of which it has been said that they were unpickled


class PickleHandler(BaseFileHandler):
    """Refuses to read without `trusted=True`. Where `defaults.trusts_pickles` says so, as through the face of an engine
    that unpickles everything, it reads and warns once a file.
    """

    str_like = False

    def load_from_fileobj(self, file: Any, **kwargs: Any) -> Any:
        """The value in an open file; DataError if it is not trusted."""
        if not kwargs.pop("trusted", False):
            name = getattr(file, "name", None)
            _warn_or_refuse(name if isinstance(name, str) else f"a {type(file).__name__}")
        return pickle.load(file, **kwargs)

    def load_from_path(self, filepath: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """The value in a local file."""
        return super().load_from_path(filepath, mode="rb", **kwargs)

    def dump_to_str(self, obj: Any, **kwargs: Any) -> bytes:
        """A value as bytes, of protocol 2 unless another is given."""
        return pickle.dumps(obj, **{"protocol": 2, **kwargs})

    def dump_to_fileobj(self, obj: Any, file: Any, **kwargs: Any) -> None:
        """Write a value into an open file."""
        pickle.dump(obj, file, **{"protocol": 2, **kwargs})

    def dump_to_path(self, obj: Any, filepath: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Write a value to a local file."""
        super().dump_to_path(obj, filepath, mode="wb", **kwargs)


def _warn_or_refuse(name: str) -> None:
    if not defaults.trusts_pickles:
        raise DataError(
            f"{name} is a pickle, and reading one runs whatever code it holds. If you trust its maker, say so: "
            "load(file, trusted=True); else have it written as JSON, YAML or a checkpoint"
        )
    if name not in _warned:
        _warned.add(name)
        MMLogger.get_current_instance().warning(
            "%s is unpickled, which runs whatever code it holds: read only what you trust. Without this warning: "
            "load(file, trusted=True)",
            name,
        )
