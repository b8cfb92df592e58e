"""Names of things that are not imported yet.

A config in the import syntax writes `from torch.optim import SGD` and `dict(type=SGD)`. While it is read, SGD is a
LazyObject: it knows what to import, and imports it when it is built. Answers to mmengine.config.LazyObject.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from importlib import import_module
from types import FunctionType
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError, CustomImportError, LazyCallError, add_note

_reading: ContextVar[bool] = ContextVar("reading", default=False)
_DUNDERS = frozenset({"__version__", "__file__", "__path__", "__all__", "__name__", "__qualname__"})


@contextmanager
def lazily() -> Iterator[None]:
    """Within the block nothing lazy is built: look-ups give the LazyObject, and calling one notes the call."""
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


def is_lazy() -> bool:
    """Whether the code runs within `lazily()`."""
    return _reading.get()


class LazyObject:
    """A module, something in it, or what an attribute or a call of that gives; imported by `build()`.

    Attributes of it are longer LazyObjects. While a config is read, a call of it is one too; afterwards a call builds
    it and calls what was built.

    Args:
        module: Module to import; for `import a.b` and `import a.c` together, the list ["a.b", "a.c"], which stands
            for `a`.
        imported: Name in the module; None for the module itself.
        location: Where it was written, as "file, line 3", for the message when it cannot be imported.
    """

    __slots__ = ("_call", "_imported", "_location", "_module", "_source")

    def __init__(self, module: str | Sequence[str], imported: str | None = None, location: str | None = None) -> None:
        several = isinstance(module, (list, tuple))
        if not isinstance(module, str) and not (several and module and all(isinstance(m, str) for m in module)):
            raise TypeError(f"module must be a module's name or a list of them, got {module!r}")
        if imported is not None and not isinstance(imported, str):
            raise TypeError(f"imported must be a name or None, got {imported!r}")
        self._module: str | tuple[str, ...] = module if isinstance(module, str) else tuple(module)
        self._imported = imported
        self._location = location
        self._source: LazyObject | None = None
        self._call: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def _derived(self, imported: str | None, call: tuple[tuple[Any, ...], dict[str, Any]] | None) -> LazyObject:
        other = LazyObject(self._module, imported, self._location)
        other._source, other._call = self, call
        return other

    # -- what it names -------------------------------------------------------------------------------------------------
    @property
    def module(self) -> str:
        """What its own name is found in: the module, or the dotted path of the object it is an attribute of."""
        if self._source is not None:
            return self._source.dotted
        return self._module if isinstance(self._module, str) else self._module[0].partition(".")[0]

    @property
    def dotted(self) -> str:
        """`torch.optim.SGD`, also where it is reached by attributes; a call is shown with its arguments."""
        if self._call is not None:
            args, kwargs = self._call
            shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
            return f"{self.module}({', '.join(shown)})"
        return self.module if self._imported is None else f"{self.module}.{self._imported}"

    @property
    def location(self) -> str | None:
        return self._location

    # -- what it becomes -----------------------------------------------------------------------------------------------
    def build(self) -> Any:
        """Import it, follow the attributes, make the calls.

        Raises:
            CustomImportError: There is no such module, or nothing of that name in it.
        """
        if self._source is None:
            return self._import()
        source = self._source.build()
        if self._call is not None:
            args, kwargs = self._call
            return source(*map(_built, args), **{name: _built(value) for name, value in kwargs.items()})
        assert self._imported is not None
        return self._attribute(source, self._imported)

    def _import(self) -> Any:
        names = (self._module,) if isinstance(self._module, str) else self._module
        try:
            loaded = [import_module(name) for name in names][0]
            if not isinstance(self._module, str):
                return import_module(self.module)
        except ImportError as error:
            raise self._error(error) from error
        except Exception as error:
            add_note(error, f"while importing {self.dotted!r}{self._where()}")
            raise
        return loaded if self._imported is None else self._attribute(loaded, self._imported)

    def _attribute(self, source: Any, name: str) -> Any:
        try:
            return getattr(source, name)
        except AttributeError:
            pass
        # `from package import module` finds modules that nobody has imported yet: by the name that the package was
        # asked for, which is another than its own where it stands in for one.
        package = self.dotted.removesuffix(f".{name}")
        try:
            if sys.modules.get(package) is not source:
                package = source.__name__
            return import_module(f"{package}.{name}") if hasattr(source, "__path__") else getattr(source, name)
        except (ImportError, AttributeError) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> CustomImportError:
        return CustomImportError(f"cannot import {self.dotted!r}{self._where()}. {type(error).__name__}: {error}")

    def _where(self) -> str:
        return f", which is named in {self._location}" if self._location else ""

    # -- Python's protocols --------------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> LazyObject:
        if name.startswith("__") and name.endswith("__") and not (name in _DUNDERS and is_lazy()):
            raise AttributeError(name)  # so that copy, pickle and the like do not take it for what it is not
        return self._derived(name, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not is_lazy():
            from trainwright.base.defaults import defaults  # not with a config: dataclasses take long to import

            if defaults.package == "mmengine":
                raise LazyCallError(f"{self.dotted} is not imported, and so cannot be called: build() imports it")
            return self.build()(*args, **kwargs)
        return self._derived(None, (args, kwargs))

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise ConfigError(
            f"a class in a config cannot inherit from {self.dotted}, which is not imported while the config is read: "
            "define the class in a module, and import it from there"
        )

    def __getitem__(self, key: Any) -> Any:
        raise ConfigTypeError(f"{self.dotted}[{key!r}]: what it holds is not known while the config is read")

    def __iter__(self) -> Iterator[Any]:
        raise ConfigTypeError(
            f"{self.dotted} cannot be gone through: what it holds is not known while the config is read"
        )

    def __bool__(self) -> bool:
        if self._has_call():
            raise ConfigError(
                f"whether {self.dotted} is true is not known while the config is read, before it is built"
            )
        return True

    def __format__(self, spec: str) -> str:
        if self._has_call():
            raise ConfigError(f"the text of {self.dotted} is not known while the config is read, before it is built")
        return format(str(self), spec)

    def _has_call(self) -> bool:
        return self._call is not None or (self._source is not None and self._source._has_call())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyObject):
            return self._key() == other._key()
        if isinstance(other, (type, FunctionType)):  # as much the same as can be known without importing it
            return self._call is None and self.dotted == f"{other.__module__}.{other.__qualname__}"
        if isinstance(other, Enum):
            kind = type(other)
            return self._call is None and self.dotted == f"{kind.__module__}.{kind.__qualname__}.{other.name}"
        return NotImplemented

    def _key(self) -> tuple[Any, ...]:
        if self._source is None or self._call is None:
            return (self.dotted,)
        return (self._source._key(), *self._call)

    def __hash__(self) -> int:
        return hash(self._source._key()) if self._source is not None and self._call is not None else hash(self.dotted)

    def __copy__(self) -> LazyObject:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyObject:
        return self  # nothing in it changes

    def __reduce__(self) -> tuple[Any, ...]:
        state = (self._module, self._imported, self._location)
        return _rebuild, (*state, self._source, self._call)

    def __str__(self) -> str:
        return self._imported or self.dotted

    def __repr__(self) -> str:
        return self.dotted


LazyAttr = LazyObject  # the name that MMEngine gives to an attribute of a LazyObject


def _rebuild(
    module: str | tuple[str, ...],
    imported: str | None,
    location: str | None,
    source: LazyObject | None,
    call: tuple[tuple[Any, ...], dict[str, Any]] | None,
) -> LazyObject:
    other = LazyObject(module, imported, location)
    other._source, other._call = source, call
    return other


def _built(value: Any) -> Any:
    if isinstance(value, LazyObject):
        return value.build()
    if isinstance(value, dict):
        return type(value)({key: _built(item) for key, item in dict.items(value)})
    if type(value) in (list, tuple):
        return type(value)([_built(item) for item in value])
    return value
