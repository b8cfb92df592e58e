"""From the `type` that a config names to the class, as building would find it; nothing is built."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from trainwright import registry as registries
from trainwright.base.errors import ConfigError, ConfigTypeError, CustomImportError, MissingExtraError, RegistryError
from trainwright.base.lazy import LazyObject
from trainwright.registry import DefaultScope, Registry
from trainwright.registry.scope import canonical_scope, import_scope
from trainwright.registry.unknown import unknown_name_message
from trainwright.runner.checks.problem import Problem, Where, warning

ROOTS: tuple[Registry, ...] = tuple(value for value in vars(registries).values() if isinstance(value, Registry))


class Resolved(NamedTuple):
    """The class, None where there is none, and what was wrong on the way."""

    target: Any
    problems: list[Problem]


def resolve(where: Where, kind: Any, registry: Registry | None) -> Resolved:
    """The class, or function, of a `type`; the name is looked up in `registry` and its scopes."""
    try:
        if isinstance(kind, LazyObject):
            return Resolved(kind.build(), [])
        if isinstance(kind, str) and registry is not None:
            found = in_scope(registry)._lookup(kind)
            if found is None:
                return _failed(where, unknown_name_message(in_scope(registry), kind), RegistryError)
            return Resolved(found, [])
    except (CustomImportError, MissingExtraError) as error:
        return _failed(where, str(error), type(error))
    except Exception as error:  # noqa: BLE001 - importing runs the user's code, and whatever that raises is the finding
        name = kind.dotted if isinstance(kind, LazyObject) else kind
        return _failed(where, f"importing {name!r} failed. {type(error).__name__}: {error}", ConfigError)
    if callable(kind):
        return Resolved(kind, [])
    text = f"type must be a name, a class or a function, got {kind!r} of type {type(kind).__name__}."
    return _failed(where, text, ConfigTypeError)


def _failed(where: Where, message: str, error: type[Exception]) -> Resolved:
    return Resolved(None, [Problem(where, message, error=error)])


def in_scope(registry: Registry) -> Registry:
    """The registry of the default scope in the tree of `registry`; `registry` itself where there is none."""
    scope = DefaultScope.get_current_instance()
    if scope is None or canonical_scope(scope.scope_name) == registry.scope:
        return registry
    return registry._find_scope(scope.scope_name) or registry


def find_anywhere(name: str, first: Iterable[Registry]) -> tuple[Any, bool]:
    """What is registered as `name`, and whether one of the registries `first` has it; else any other may."""
    for registry in first:
        found = in_scope(registry)._lookup(name)
        if found is not None:
            return found, True
    for root in ROOTS:
        for member in family(root):
            found = member._own(name)
            if found is not None:
                return found, False
    return None, False


def family(registry: Registry) -> Iterable[Registry]:
    """`registry` and all below it."""
    yield registry
    for child in registry.children.values():
        yield from family(child)


def check_scope(scope: str | None) -> Iterable[Problem]:
    """A default scope that no registry has."""
    if scope is None or any(root._find_scope(scope) for root in ROOTS):
        return
    failure = import_scope(canonical_scope(scope))
    reason = f":\n{failure}" if "\n" in failure else f": there is no module {scope}.registry."
    yield warning(("default_scope",), f"no registry has the scope {scope!r}, so names are looked up without it{reason}")
