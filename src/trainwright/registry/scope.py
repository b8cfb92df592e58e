"""Scopes: the package a registered name belongs to, and the one that unprefixed names are looked up in first."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from logging import WARNING
from typing import Any

from trainwright.base.errors import RuleTypeError
from trainwright.base.instances import ManagerMixin
from trainwright.base.logs import print_log

ROOT_SCOPE = "trainwright"
_ALIASES = {"mmengine": ROOT_SCOPE}
# Packages that may define their registries without locations: `<package>.utils.register_all_modules()` fills them. The
# value is the name to install where that is another one.
MODULE2PACKAGE = {
    **{name: name for name in ("mmcls", "mmdet", "mmdet3d", "mmtrack", "mmpose", "mmedit", "mmocr", "mmgen")},
    **{name: name for name in ("mmfewshot", "mmrazor", "mmflow", "mmhuman3d", "mmrotate", "mmselfsup", "mmyolo")},
    **{name: name for name in ("mmpretrain", "mmagic")},
    "mmseg": "mmsegmentation",
    "mmaction": "mmaction2",
}


class DefaultScope(ManagerMixin):
    """The scope that `build` starts from; set by `with DefaultScope.overwrite_default_scope(name)`."""

    def __init__(self, name: str, scope_name: str) -> None:
        super().__init__(name)
        if not isinstance(scope_name, str):
            raise RuleTypeError(f"scope_name must be a string, got {scope_name!r} of type {type(scope_name).__name__}")
        self._scope_name = scope_name

    @property
    def scope_name(self) -> str:
        return self._scope_name

    @classmethod
    def get_instance(cls, name: str, **kwargs: Any) -> DefaultScope:
        """The scope object called `name`. A new one becomes the default from here on, inside a `with` block until
        its end.
        """
        is_new = not cls.check_instance_created(name)
        instance = super().get_instance(name, **kwargs)
        if is_new and cls._active.get() is not None:
            cls._active.set(instance)
        return instance

    @classmethod
    def get_current_instance(cls) -> DefaultScope | None:
        """The default scope in force, or None."""
        if cls._active.get() is None and not cls._instance_dict:
            return None
        return super().get_current_instance()

    @classmethod
    @contextmanager
    def overwrite_default_scope(cls, scope_name: str | None) -> Iterator[None]:
        """Make `scope_name` the default within the block; None leaves the default as it is."""
        if scope_name is None:
            yield
        else:
            with cls(name=f"overwritten by {scope_name}", scope_name=scope_name).as_current():
                yield


def init_default_scope(scope: str) -> None:
    """Make `scope` the default scope of this process, whatever it was before."""
    current = DefaultScope.get_current_instance()
    if current is not None and current.scope_name == scope:
        return
    if current is not None:
        print_log(
            f'The current default scope "{current.scope_name}" is not "{scope}": from here on it is "{scope}"',
            logger="current",
            level=WARNING,
        )
    if DefaultScope.check_instance_created(scope):
        DefaultScope.get_instance(scope).forget()
    DefaultScope.get_instance(scope, scope_name=scope)


def canonical_scope(scope: str) -> str:
    """`scope`, or the scope that it is another name for ('mmengine' is the root's)."""
    return _ALIASES.get(scope, scope)


def infer_scope(depth: int) -> tuple[str, str]:
    """The top package, and the module, of the caller `depth` frames above this function's caller."""
    module = str(sys._getframe(depth + 1).f_globals.get("__name__", ROOT_SCOPE))
    return module.split(".", 1)[0], module


@cache
def import_scope(scope: str) -> str:
    """Import `<scope>.registry`, which hangs a package's registries into the tree; gives what `try_import` gives."""
    return try_import(f"{scope}.registry")


def try_import(module: str) -> str:
    """Import `module`. "" if it worked, "not found" if there is no such module, else the full traceback of what it
    raised.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            return NOT_FOUND
        return traceback.format_exc()
    except Exception:  # noqa: BLE001 - any error of user code at import; reported with its traceback where the name is missed
        return traceback.format_exc()
    return ""


def register_all(scope: str) -> str:
    """Have an OpenMMLab package of `scope` register its classes, as those do that name no locations; gives what
    `try_import` gives, and "" for any other scope.
    """
    if scope not in MODULE2PACKAGE:
        return ""
    failure = try_import(f"{scope}.utils")
    if failure:
        return failure
    register = getattr(sys.modules[f"{scope}.utils"], "register_all_modules", None)
    if register is None:
        return ""
    try:
        register(False)
    except Exception:  # noqa: BLE001 - as in try_import
        return traceback.format_exc()
    return ""


def install_hint(scope: str) -> str:
    """For a package that people know: how to install it, as a sentence to append."""
    return f" Is it installed? pip install {MODULE2PACKAGE[scope]}" if scope in MODULE2PACKAGE else ""


NOT_FOUND = "not found"
