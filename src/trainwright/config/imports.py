"""`custom_imports`: the modules a config needs imported before its names can be found."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError, CustomImportError

KEY = "custom_imports"


def import_custom(cfg: Any, allow_data_file: bool = False) -> list[ModuleType]:
    """Import what `cfg.custom_imports = dict(imports=[...], allow_failed_imports=False)` names.

    An entry that ends in `.py` is a file beside the config, or else beside a base it inherits from: its folder goes on
    `sys.path` and it is imported by its stem. A config read from a data file is refused unless `allow_data_file`.
    """
    filename = getattr(cfg, "filename", None)
    custom = getattr(cfg, "_cfg_dict", cfg).get(KEY)
    if not custom:
        return []
    if filename is not None and not filename.endswith(".py") and not allow_data_file:
        raise ConfigError(
            f"{KEY} is set, but a data file imports nothing. Move it into a .py config, or read the file with "
            "import_custom_modules=False and call import_custom(cfg, allow_data_file=True).",
            *_place(cfg),
        )
    names, allow_failed = _checked(custom, _place(cfg))
    source = getattr(cfg, "source", None)
    folders = [os.path.dirname(file.path) for file in reversed(source.chain())] if source is not None else []
    modules = []
    for name in names:
        loaded, error = _try_import(name, folders or [os.getcwd()])
        if loaded is not None:
            modules.append(loaded)
        elif allow_failed:
            warnings.warn(f"{KEY}: {name!r} failed to import and is left out: {error}", stacklevel=2)
        else:
            raise CustomImportError(
                f"{KEY} names {name!r}, which cannot be imported. {type(error).__name__}: {error}."
                f"{'' if name.endswith('.py') else f' Modules are searched in sys.path = {sys.path}'}",
                *_place(cfg),
            ) from error
    return modules


def refuse_custom(cfg: Any) -> None:
    """Raise when a config that is not trusted names modules to import."""
    if getattr(cfg, "_cfg_dict", cfg).get(KEY):
        raise ConfigError(
            f"{KEY} would run the modules it names, and a config that is read with trusted=False runs nothing. Read it "
            "with import_custom_modules=False to keep the key as data.",
            *_place(cfg),
        )


def _place(cfg: Any) -> tuple[str | None, int | None]:
    """File and line of `custom_imports`."""
    origin = cfg.origin(KEY) if hasattr(cfg, "origin") else None
    return (origin.file, origin.line) if origin is not None else (getattr(cfg, "filename", None), None)


def _checked(custom: Any, place: tuple[str | None, int | None]) -> tuple[list[str], bool]:
    rule = f"{KEY} must be dict(imports=['module', ...], allow_failed_imports=False)"
    if not isinstance(custom, dict) or set(custom) - {"imports", "allow_failed_imports"}:
        raise ConfigTypeError(f"{rule}, got {custom!r}", *place)
    imports = custom.get("imports")
    names = [imports] if isinstance(imports, str) else imports or []
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ConfigTypeError(f"{rule}, got imports={imports!r}", *place)
    return list(names), bool(custom.get("allow_failed_imports", False))


def _try_import(name: str, folders: list[str]) -> tuple[ModuleType | None, ImportError | None]:
    try:
        return (_import_file(name, folders) if name.endswith(".py") else import_module(name)), None
    except ImportError as error:
        return None, error


def _import_file(name: str, folders: list[str]) -> ModuleType:
    paths = [os.path.abspath(os.path.join(folder, name)) for folder in folders]
    path = next((path for path in paths if os.path.isfile(path)), None)
    if path is None:
        raise ImportError(f"there is no file {' or '.join(dict.fromkeys(paths))}")
    folder, stem = os.path.dirname(path), os.path.splitext(os.path.basename(path))[0]
    loaded = sys.modules.get(stem)
    if loaded is None:
        if folder not in sys.path:
            sys.path.insert(0, folder)
        loaded = import_module(stem)
    origin = getattr(loaded, "__file__", None)
    if origin is None or not os.path.samefile(origin, path):
        raise ImportError(
            f"{path} would be the module {stem!r}, which is already {origin or 'built in'}: rename the file"
        )
    return loaded
