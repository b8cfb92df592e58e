"""The names that a package of MMEngine exports, each looked up in its module when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from trainwright.compat.exports import lazy_exports
from trainwright.compat.mmengine.modules import MODULES

_HOME = __name__.rpartition(".")[0]


def mirror(
    package: str, names_of: Mapping[str, str], modules: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` for `package`, a mirror of one of MMEngine's.

    `names_of` has the exported names, between blanks, by the module of MMEngine that they are in (`".path"`), which is
    found by the table of modules or in this package; or by the name of a module of ours. `modules` are the modules and
    packages of MMEngine inside the package.
    """
    inside = package[len(_HOME) + 1 :]

    def home_of(module: str) -> str:
        """Of a module of the package."""
        return MODULES.get(f"{inside}.{module}".lstrip("."), f"{package}.{module}")

    homes: dict[str, str] = {}  # two modules of MMEngine may be one of ours
    for key, names in names_of.items():
        home = home_of(key[1:]) if key.startswith(".") else key
        homes[home] = f"{homes.get(home, '')} {names}"
    parts = modules.split()
    get, all_names, exported = lazy_exports(package, homes, parts)

    def get_or_import(name: str) -> Any:
        if name not in parts:
            return get(name)
        value = import_module(home_of(name))
        setattr(sys.modules[package], name, value)
        return value

    return get_or_import, all_names, exported
