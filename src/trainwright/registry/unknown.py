"""The message for a name that no registry knows."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainwright.base.text import any_of, did_you_mean, near_names
from trainwright.registry.scope import NOT_FOUND, canonical_scope, import_scope

if TYPE_CHECKING:
    from trainwright.registry.registry import Registry


def describe_place(obj: Any) -> str:
    """`pkg.mod.Name (file:line)`, as far as it can be found."""
    target = inspect.unwrap(obj) if callable(obj) else obj
    name = f"{getattr(target, '__module__', '?')}.{getattr(target, '__qualname__', None) or repr(target)}"
    try:
        path = inspect.getsourcefile(target)
        line = inspect.getsourcelines(target)[1]
    except (TypeError, OSError):
        return name
    return f"{name} ({path}:{line})"


def unknown_name_message(registry: Registry, key: str) -> str:
    """Near names with their scopes, the scopes searched, the locations tried, failed imports in full, and the line
    to add.
    """
    lineage = list(registry._lineage())
    above = "".join(f" and its parent {_titled(parent)}" for parent in lineage[1:])
    hint = suggestion(registry, key) or _not_in_module(key)
    lines = [f"{key} is not in the {_titled(registry)} registry{above}.{hint}"]
    scope = registry.split_scope_key(key)[0]
    failures: dict[str, str] = {}
    tried: list[str] = []
    family = [*lineage, *([found] if scope and (found := registry._find_scope(scope)) and found not in lineage else [])]
    for member in family:
        tried += member._locations
        failures.update(member._failed)
    if scope and registry._find_scope(scope) is None:
        failures.update(_scope_failure(scope))
    if tried:
        marked = [f"{loc} ({_verdict(failures[loc])})" if loc in failures else loc for loc in dict.fromkeys(tried)]
        lines.append(f"Locations imported: {', '.join(marked)}.")
    symbol = registry_symbol(registry)
    lines.append(
        f"If it is your own: put @{symbol}.register_module() on it, and import the module that defines it by "
        "custom_imports=dict(imports=['your_module']) in the config. Anything importable can also be named by its "
        "path, type='package.module.Name'."
    )
    lines += [f"{loc} failed to import:\n{text.rstrip()}" for loc, text in failures.items() if text != NOT_FOUND]
    return "\n".join(lines)


def _titled(registry: Registry) -> str:
    return f"{registry.scope}::{registry.name}"


def registry_symbol(registry: Registry) -> str:
    """The variable that holds the registry in the module which made it."""
    namespace = vars(sys.modules.get(registry._module, sys))
    return next((name for name, value in list(namespace.items()) if value is registry), "REGISTRY")


def suggestion(registry: Registry, key: str) -> str:
    """Near names of the whole tree, spelled as they are reached from `registry`: those of another scope with it."""
    plain_key = key.rpartition(".")[2]
    own_scopes = {member.scope for member in registry._lineage()}
    spelled: dict[str, dict[str, None]] = {}
    for member in _tree(registry._get_root_registry()):
        for name in (*member.module_dict, *member._deferred):
            shown = name if member.scope in own_scopes else f"{member.scope}.{name}"
            spelled.setdefault(name, {})[shown] = None
    near = [shown for name in near_names(plain_key, spelled, n=4) for shown in spelled[name] if shown != key][:4]
    return any_of(near)


def _not_in_module(path: str) -> str:
    """For the path of something that a module, which the look-up has imported, does not have."""
    module, _, name = path.replace(":", ".").rpartition(".")
    found = sys.modules.get(module)
    return f" The module {module!r} has no {name!r}.{did_you_mean(name, dir(found))}" if found is not None else ""


def _tree(registry: Registry) -> Iterator[Registry]:
    yield registry
    for child in registry.children.values():
        yield from _tree(child)


def _scope_failure(scope: str) -> dict[str, str]:
    failure = import_scope(canonical_scope(scope))
    return {f"{scope}.registry": failure} if failure else {}


def _verdict(failure: str) -> str:
    return "no such module" if failure == NOT_FOUND else "failed to import, see below"


def rich_table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Names and objects as MMEngine shows them, for a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("Names", justify="left", style="cyan")
    table.add_column("Objects", justify="left", style="green")
    for row in rows:
        table.add_row(*row)
    console = Console()
    with console.capture() as capture:
        console.print(table, end="")
    return capture.get()
