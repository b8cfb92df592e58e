"""Names of mmengine.config.utils: what finds the configs of installed packages, and what makes imports lazy.

Trainwright's own reader (`trainwright.config.reading`) has its ways for both; these are for who calls them by name.
"""

from __future__ import annotations

import ast
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trainwright.base.errors import ConfigError, ConfigNotFoundError, RuleError
from trainwright.base.text import did_you_mean
from trainwright.config.reading.standard import is_standard
from trainwright.registry.scope import MODULE2PACKAGE

PKG2PROJECT = MODULE2PACKAGE
PYTHON_ROOT_DIR = str(Path(sys.executable).parent.parent)
SYSTEM_PYTHON_PREFIX = "/usr/lib/python"
_HERE = "mmengine.config"


class ConfigParsingError(ConfigError, RuntimeError):
    """A config in the import syntax that cannot be read."""


def _get_cfg_metainfo(package_path: str, cfg_path: str) -> dict[str, Any]:
    """What the model index of an installed package says of the config `cfg_path`, the first time it is named."""
    index = _yaml(Path(package_path, ".mim", "model-index.yml"))
    found: dict[str, dict[str, Any]] = {}
    for file in index["Import"]:
        for model in _yaml(Path(package_path, ".mim", file))["Models"]:
            if "Config" not in model:
                warnings.warn(f"{file} of {package_path} has a model without Config: {model}", stacklevel=2)
                continue
            found.setdefault(model["Config"].partition("/")[2], model)
    if cfg_path not in found:
        raise ConfigError(f"{package_path} has no config {cfg_path!r} in its index.{did_you_mean(cfg_path, found)}")
    return found[cfg_path]


def _get_external_cfg_path(package_path: str, cfg_file: str) -> str:
    """The file of a config, by the model index of its package."""
    meta = _get_cfg_metainfo(package_path, cfg_file.partition(".")[0])
    return _existing(Path(package_path, meta["Config"]))


def _get_external_cfg_base_path(package_path: str, cfg_name: str) -> str:
    """The file of a config among those that are installed with its package."""
    return _existing(Path(package_path, ".mim", "configs", cfg_name))


def _get_package_and_cfg_path(cfg_path: str) -> tuple[str, str]:
    """``"mmseg::unet/unet.py"`` as the name to install the package by, and the path in it."""
    from trainwright.hub.packages import split_name  # imports torch, as nothing else here does

    package, path = split_name(cfg_path)
    if package not in MODULE2PACKAGE:
        raise RuleError(f"{package!r} is none of the packages {', '.join(MODULE2PACKAGE)}, from which configs come")
    return MODULE2PACKAGE[package], path


def _yaml(path: Path) -> Any:
    return yaml.safe_load(Path(_existing(path)).read_text(encoding="utf-8"))


def _existing(path: Path) -> str:
    if not path.is_file():
        raise ConfigNotFoundError(f"the file {str(path)!r} does not exist")
    return str(path)


def _is_builtin_module(module_name: str) -> bool:
    """Whether a config imports the module itself: of the standard library, or the one that has `read_base`."""
    if module_name.startswith("."):
        return False
    return module_name.startswith(_HERE) or is_standard(module_name.partition(".")[0])


class RemoveAssignFromAST(ast.NodeTransformer):
    """Takes the assignments to the name `key` out of a tree."""

    def __init__(self, key: str) -> None:
        self.key = key

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        first = node.targets[0]
        return None if isinstance(first, ast.Name) and first.id == self.key else node


class ImportTransformer(ast.NodeTransformer):
    """Makes imports of a config assignments of LazyObjects, and puts what it takes from its bases into `global_dict`.

    `base_dict` has the variables of each base, by the module that the config imports them from. `imported_obj` has the
    names that were imported. `import a.b` without `as` is left to `_gather_abs_import_lazyobj`.
    """

    def __init__(
        self, global_dict: dict[str, Any], base_dict: Mapping[str, Any] | None = None, filename: str | None = None
    ) -> None:
        self.base_dict = base_dict or {}
        self.global_dict = global_dict
        self.filename = filename
        self.imported_obj: set[str] = set()

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom | list[ast.stmt] | None:
        module = "." * node.level + (node.module or "")
        names = {alias.asname or alias.name: alias for alias in node.names}
        if module in self.base_dict and not _is_builtin_module(module):
            base = self.base_dict[module]
            self.global_dict.update(base if "*" in names else {new: base[one.name] for new, one in names.items()})
            return None
        if "*" in names:
            raise ConfigParsingError(
                f"Illegal syntax in config! `from {module} import *` takes names that are not known before the module "
                "is imported: name them, or have the import inside `with read_base():` if it is a base",
                self.filename,
                node.lineno,
            )
        self.imported_obj.update(names)
        if _is_builtin_module(module):
            return node
        return [_lazy(name, module, alias.name, self.filename, alias.lineno) for name, alias in names.items()]

    def visit_Import(self, node: ast.Import) -> ast.Import | ast.stmt:
        if len(node.names) != 1:
            raise RuleError(
                f"Illegal syntax in config! import one module in a line, but got {len(node.names)}",
                self.filename,
                node.lineno,
            )
        alias = node.names[0]
        if alias.asname is None:
            return node
        self.imported_obj.add(alias.asname)
        if _is_builtin_module(alias.name):
            return node
        return _lazy(alias.asname, alias.name, None, self.filename, node.lineno)


def _gather_abs_import_lazyobj(tree: ast.Module, filename: str | None = None) -> tuple[ast.Module, set[str]]:
    """One LazyObject for all `import a.b`, `import a.c` of a package, at the top; gives the packages too."""
    modules: dict[str, list[ast.alias]] = {}
    body: list[ast.stmt] = []
    for node in tree.body:
        aliases = node.names if isinstance(node, ast.Import) else []
        lazy = [alias for alias in aliases if not _is_builtin_module(alias.name)]
        for alias in lazy:
            modules.setdefault(alias.name.partition(".")[0], []).append(alias)
        if not lazy:
            body.append(node)
    first = [
        _lazy(package, [alias.name for alias in aliases], None, filename, aliases[0].lineno)
        for package, aliases in modules.items()
    ]
    tree.body = [*reversed(first), *body]
    return tree, set(modules)


def _lazy(name: str, module: str | Sequence[str], imported: str | None, filename: str | None, lineno: int) -> ast.stmt:
    """``name = LazyObject(module, imported, "filename, line lineno")``."""
    return ast.parse(f"{name} = LazyObject({module!r}, {imported!r}, {f'{filename}, line {lineno}'!r})").body[0]
