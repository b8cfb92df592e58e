"""Where the config that a base names lies."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import NamedTuple

from trainwright.base.errors import ConfigError, ConfigNotFoundError


class Place(NamedTuple):
    """A file that is to be read as a base.

    `shown` is the path as MMEngine joins it, which a config in the import syntax sees as `__file__`. `scope` is the
    package of a `package::path`, whose classes the base names, and `root` the folder of its configs. `imported` is True
    for one that `read_base()` names.
    """

    path: str
    shown: str
    scope: str | None = None
    imported: bool = False
    root: str | None = None


def find_base(name: str, child: str, lineno: int | None) -> Place:
    """The file that `_base_` names: beside the child, or `package::path` in an installed package.

    The package's configs lie in its folder `.mim/configs` or `configs`. The package itself is not imported.
    """
    package, separator, inner = name.partition("::")
    if not separator:
        path = os.path.abspath(os.path.join(os.path.dirname(child), os.path.expanduser(name)))
        return Place(path, path)
    folders = _package_folders(package)
    if not folders:
        raise ConfigError(f"{name!r} names a config of the package {package!r}, which is not installed", child, lineno)
    roots = [os.path.join(folder, part) for folder in folders for part in (os.path.join(".mim", "configs"), "configs")]
    tried = [os.path.abspath(os.path.join(root, inner)) for root in roots]
    if not all(is_within(path, root) for path, root in zip(tried, roots, strict=True)):
        raise ConfigError(f"{name!r} leads out of the configs of the package {package!r}", child, lineno)
    found = next(((path, root) for path, root in zip(tried, roots, strict=True) if os.path.exists(path)), None)
    if found is None:
        raise ConfigNotFoundError(f"{name!r} does not exist; looked for {' and '.join(tried)}", child, lineno)
    return Place(found[0], found[0], package, root=found[1])


def find_module(module: str, shown: str, lineno: int) -> Place:
    """The config file that `from <module> import ...` within `with read_base():` names.

    Leading dots count folders up from the child, as in a package; else the first name is an installed package, or a
    folder that the child lies in. Nothing is imported.
    """
    name = module.lstrip(".")
    level = len(module) - len(name)
    parts = name.split(".")
    if level:
        base = os.path.join(os.path.dirname(shown), *[".."] * (level - 1), *parts[:-1], f"{parts[-1]}.py")
        return Place(os.path.abspath(base), base, imported=True)
    if len(parts) == 1:
        raise ConfigError(
            f"from {module} import ...: a base is a config file, as in `from .{module} import *` for the one beside "
            f"this file, or `from {module}.configs.name import *` for one of a package",
            shown,
            lineno,
        )
    folders = [*_package_folders(parts[0]), *_folders_named(parts[0], shown)]
    if not folders:
        raise ConfigError(
            f"{module!r} names a config of the package {parts[0]!r}, which is not installed", shown, lineno
        )
    tried = [os.path.join(folder, *extra, *parts[1:]) + ".py" for folder in folders for extra in ((), (".mim",))]
    found = next((path for path in tried if os.path.isfile(path)), None)
    if found is None:
        raise ConfigNotFoundError(f"{module!r} does not exist; looked for {' and '.join(tried)}", shown, lineno)
    return Place(os.path.abspath(found), found, imported=True)


def is_within(path: str, root: str) -> bool:
    """Whether `path` lies in the folder `root`, symbolic links followed."""
    real, folder = os.path.realpath(path), os.path.realpath(root)
    return real == folder or real.startswith(folder.rstrip(os.sep) + os.sep)


def config_root(path: str) -> str:
    """The folder that a config's bases are expected in: the nearest one above it called `configs`, else the current
    folder when the config lies in it, else the config's own.
    """
    folder = os.path.dirname(os.path.abspath(path))
    above = folder
    while above != os.path.dirname(above):
        if os.path.basename(above) == "configs":
            return above
        above = os.path.dirname(above)
    return os.getcwd() if is_within(folder, os.getcwd()) else folder


def _package_folders(package: str) -> list[str]:
    try:
        spec = find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    return list(spec.submodule_search_locations or []) if spec is not None else []


def _folders_named(package: str, child: str) -> list[str]:
    """Folders above `child` with the name of the package: a package's own configs find each other uninstalled."""
    folder, found = os.path.dirname(os.path.abspath(child)), []
    while folder != os.path.dirname(folder):
        if os.path.basename(folder) == package:
            found.append(folder)
        folder = os.path.dirname(folder)
    return found
