"""Where the config that `_base_` names lies."""

from __future__ import annotations

import os
from importlib.util import find_spec

from trainwright.base.errors import ConfigError, ConfigNotFoundError


def find_base(name: str, child: str, lineno: int | None) -> str:
    """Absolute path of a base: beside the child, or `package::path` in an installed package.

    The package's configs lie in its folder `.mim/configs` or `configs`. The package itself is not imported.
    """
    package, separator, inner = name.partition("::")
    if not separator:
        return os.path.abspath(os.path.join(os.path.dirname(child), os.path.expanduser(name)))
    try:
        spec = find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise ConfigError(f"{name!r} names a config of the package {package!r}, which is not installed", child, lineno)
    tried = [
        os.path.join(folder, part, inner) for folder in folders for part in (os.path.join(".mim", "configs"), "configs")
    ]
    found = next((path for path in tried if os.path.exists(path)), None)
    if found is None:
        raise ConfigNotFoundError(f"{name!r} does not exist; looked for {' and '.join(tried)}", child, lineno)
    return os.path.abspath(found)
