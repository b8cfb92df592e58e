"""The imports at the top of a config that is written: which names, bound to what."""

from __future__ import annotations

import keyword
import sys
from types import BuiltinFunctionType, FunctionType
from typing import Any

from trainwright.base.lazy import LazyObject
from trainwright.config.reading.standard import is_standard


class Imports:
    """Collects what must be imported, and finds a free name for each."""

    def __init__(self, taken: set[Any]) -> None:
        self._taken = taken
        self._names: dict[tuple[str, ...], str] = {}  # what is imported -> the name it has
        self._statements: set[str] = set()

    def bind(self, name: str, value: LazyObject) -> None:
        """Import `value` under `name`, which is a key of the config."""
        if value._source is None:
            self._add(_target(value), name)

    def root(self, value: LazyObject) -> str:
        """The name of a LazyObject that is imported, and no attribute or call of another."""
        return self._name(_target(value))

    def reference(self, value: Any) -> str:
        """An expression for a class or function for which `can_import` holds."""
        first, *rest = value.__qualname__.split(".")
        if value.__module__ == "builtins":
            return str(value.__qualname__)
        return ".".join([self._name((value.__module__, first)), *rest])

    def can_import(self, value: Any) -> bool:
        """Whether `value` is a class or function that its module has under its own name."""
        if not isinstance(value, (type, FunctionType, BuiltinFunctionType)):
            return False
        node: Any = sys.modules.get(value.__module__ or "")
        if value.__module__ == "builtins" and value.__qualname__ in self._taken:
            return False
        for part in value.__qualname__.split("."):
            node = getattr(node, part, None)
        return node is value and value.__module__ != "__main__"

    def lines(self) -> list[str]:
        """The statements, sorted. A library among them makes a file import syntax; the standard library alone does not,
        so the marker of that syntax is imported with it.
        """
        statements = sorted(self._statements)
        if statements and all(is_standard(statement.split()[1]) for statement in statements):
            statements.append("from trainwright.config import read_base")
        return statements

    def _name(self, target: tuple[str, ...]) -> str:
        if target in self._names:
            return self._names[target]
        if len(target) > 2:  # `import a.b` binds `a`, and no other name will do
            self._add(target, target[0])
            return target[0]
        wish = target[-1].rpartition(".")[2]
        name, n = wish, 1
        while name in self._taken or not is_name(name) or name.startswith("__"):
            n += 1
            name = f"{wish}_{n}"
        self._add(target, name)
        return name

    def _add(self, target: tuple[str, ...], name: str) -> None:
        self._names[target] = name
        self._taken.add(name)
        if len(target) == 1:
            self._statements.add(f"import {target[0]}" + ("" if name == target[0] else f" as {name}"))
        elif len(target) == 2:
            module, imported = target
            self._statements.add(f"from {module} import {imported}" + ("" if name == imported else f" as {name}"))
        else:
            self._statements.update(f"import {module}" for module in target[2:])


def is_name(key: Any) -> bool:
    """Whether `key` can be assigned and be a keyword argument."""
    # Not every identifier will do: Python normalises non-ASCII ones, and __debug__ cannot be assigned.
    return (
        isinstance(key, str)
        and key.isascii()
        and key.isidentifier()
        and not keyword.iskeyword(key)
        and key != "__debug__"
    )


def _target(value: LazyObject) -> tuple[str, ...]:
    """(module,) or (module, name), or (package, "", module, ...) for what `import a.b` and `import a.c` bind."""
    if not isinstance(value._module, str):
        return (value.module, "", *value._module)
    return (value._module,) if value._imported is None else (value._module, value._imported)
