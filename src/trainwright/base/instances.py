"""Objects found by name, as MMEngine's ManagerMixin, with a `with` block that says which one is current."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from typing import Any, TypeVar

from trainwright.base.errors import InstanceNameError

T = TypeVar("T", bound="ManagerMixin")
_lock = RLock()


class ManagerMeta(type):
    """Of classes whose instances are found by name: each has a table of its own, and a constructor with `name`."""

    _instance_dict: dict[str, Any]
    _active: ContextVar[Any]

    def __init__(cls, *args: Any) -> None:
        super().__init__(*args)
        if "name" not in inspect.getfullargspec(cls).args:
            raise InstanceNameError(
                f"{cls} must have the `name` argument in its constructor: its instances are found by it"
            )
        cls._instance_dict = {}
        cls._active = ContextVar(f"current {cls.__qualname__}", default=None)


class ManagerMixin(metaclass=ManagerMeta):
    """Gives a class `get_instance(name)` and `get_current_instance()`. Registries build such classes by `get_instance`.

    An instance is known to its class and to the managed classes it inherits from. The current one is the one of the
    innermost `with instance.as_current()`; outside of any, the one created last.
    """

    def __init__(self, name: str = "", **kwargs: Any) -> None:
        if not isinstance(name, str) or not name:
            raise InstanceNameError(f"name of a {type(self).__name__} must be a non-empty string, got {name!r}")
        super().__init__(**kwargs)
        self._instance_name = name

    @property
    def instance_name(self) -> str:
        return self._instance_name

    @classmethod
    def get_instance(cls: type[T], name: str, **kwargs: Any) -> T:
        """The instance called `name`; created with `kwargs` if there is none yet, and with a warning about them if
        there is.
        """
        if not isinstance(name, str):
            raise InstanceNameError(
                f"name of a {cls.__name__} must be a string, got {name!r} of type {type(name).__name__}"
            )
        with _lock:
            if name not in cls._instance_dict:
                instance = cls(name=name, **kwargs)
                for owner in _managed_classes(cls):
                    owner._instance_dict.setdefault(name, instance)
            elif kwargs:
                warnings.warn(
                    f"there is a {cls.__name__} named {name!r} already, and {', '.join(kwargs)} of this call of "
                    "get_instance change nothing in it",
                    stacklevel=2,
                )
            found: T = cls._instance_dict[name]
        return found

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        return name in cls._instance_dict

    @classmethod
    def get_current_instance(cls: type[T]) -> T | None:
        """The current instance. Raises RuntimeError if there is none (a subclass may answer None instead)."""
        active: T | None = cls._active.get()
        if active is not None:
            return active
        with _lock:
            if not cls._instance_dict:
                raise RuntimeError(
                    f"there is no {cls.__name__} yet: call get_instance(name) before get_current_instance()"
                )
            last: T = next(reversed(cls._instance_dict.values()))
        return last

    def forget(self) -> None:
        """Free the name: the instance is no longer found by it, nor as the current one."""
        with _lock:
            for owner in _managed_classes(type(self)):
                if owner._instance_dict.get(self._instance_name) is self:
                    del owner._instance_dict[self._instance_name]

    @contextmanager
    def as_current(self: T) -> Iterator[T]:
        """Make this instance the current one of its class within the block, in this thread or task."""
        tokens = [(owner, owner._active.set(self)) for owner in _managed_classes(type(self))]
        try:
            yield self
        finally:
            for owner, token in tokens:
                owner._active.reset(token)


def _managed_classes(cls: type[ManagerMixin]) -> list[type[ManagerMixin]]:
    return [owner for owner in cls.__mro__ if issubclass(owner, ManagerMixin) and owner is not ManagerMixin]
