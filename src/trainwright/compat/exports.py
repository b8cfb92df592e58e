"""Names that a package of a face exports, each imported from its module when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from typing import Any

from trainwright.base.text import did_you_mean


def lazy_exports(
    package: str, names_of: Mapping[str, str | Iterable[str]], modules: Collection[str] | Mapping[str, str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for `package`.

    `names_of` has the names by the module that they are in, which is called as in a relative import of the package,
    `".path"`; a text has them between blanks. The modules of the package that `modules` names are there as well;
    where it is a mapping, it says which they are.
    """
    homes = {
        name: module
        for module, names in names_of.items()
        for name in (names.split() if isinstance(names, str) else names)
    }
    known = sorted({*homes, *modules})

    def get(name: str) -> Any:
        if name in modules:
            return import_module(modules[name] if isinstance(modules, Mapping) else f".{name}", package)
        home = homes.get(name)
        if home is not None:
            value = getattr(import_module(home, package), name)
            setattr(sys.modules[package], name, value)
            return value
        if name.startswith("__"):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        has = f"the modules {', '.join(modules)} and " if modules else ""
        raise AttributeError(
            f"module {package!r} has no attribute {name!r}.{did_you_mean(name, known)} It has {has}{len(homes)} names, "
            f"from {min(homes)!r} to {max(homes)!r}; dir() lists them"
        )

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *known})

    return get, names, list(homes)
