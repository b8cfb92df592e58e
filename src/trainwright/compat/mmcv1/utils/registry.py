"""The registry of MMCV 1.x: its look-up rules and error types, over ours."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from trainwright.base.errors import RegistryError, add_note
from trainwright.base.text import did_you_mean
from trainwright.registry import Registry as BaseRegistry
from trainwright.registry.build import remembering
from trainwright.registry.scope import infer_scope
from trainwright.utils.misc import deprecated_api_warning, is_seq_of

__all__ = ["Registry", "build_from_cfg"]
_HOME = "trainwright.compat.mmcv1"


def build_from_cfg(cfg: Any, registry: Any, default_args: Any = None) -> Any:
    """Build the object that the dict `cfg` describes: its key `type` is a registered name, a class or a function.

    An error that the constructor raises keeps its type, and gets a note with the class and the registry.
    """
    if not isinstance(cfg, dict):
        raise TypeError(f"cfg must be a dict with the key 'type', got {cfg!r} of type {type(cfg).__name__}")
    if "type" not in cfg and (default_args is None or "type" not in default_args):
        raise RegistryError(f'cfg or default_args must contain the key "type", got {cfg!r} and {default_args!r}')
    if not isinstance(registry, BaseRegistry):
        raise TypeError(f"registry must be a Registry, got {registry!r} of type {type(registry).__name__}")
    if not (default_args is None or isinstance(default_args, dict)):
        raise TypeError(
            f"default_args must be a dict or None, got {default_args!r} of type {type(default_args).__name__}"
        )
    args = {**(default_args or {}), **cfg}
    kind = args.pop("type")
    target = _target(kind, registry)
    with remembering(cfg):
        try:
            return target(**args)
        except Exception as error:
            add_note(error, f"while building {target.__name__} of the {registry.name!r} registry")
            raise


def _target(kind: Any, registry: BaseRegistry) -> Any:
    if isinstance(kind, str):
        found = registry.get(kind)
        if found is None:
            near = did_you_mean(kind, registry.module_dict)
            raise RegistryError(
                f"{kind} is not in the {registry.name} registry.{near} If it is your own, register it, and import the "
                "module that defines it before it is built."
            )
        return found
    if inspect.isclass(kind) or inspect.isfunction(kind):
        return kind
    raise TypeError(f"type must be a str or valid type (a class or a function), got {kind!r} of {type(kind).__name__}")


class Registry(BaseRegistry):
    """Names to classes and functions, as MMCV 1.x looks them up.

    A name without a scope is looked up here and nowhere else; `"scope.Name"` in the child registry of that scope, else
    from the root of the tree. Nothing is imported for a look-up.
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
    ) -> None:
        assert parent is None or isinstance(parent, Registry), f"parent of registry {name!r} must be a Registry"
        own = _scope_of_caller(1) if scope is None else scope
        assert parent is None or own not in parent.children, f"scope {own} exists in {parent.name} registry"
        super().__init__(name, build_func or (build_from_cfg if parent is None else None), parent, own)
        self._module = infer_scope(1)[1]

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self._name}, items={self._module_dict})"

    @staticmethod
    def infer_scope() -> str:
        """The top package of the caller's caller."""
        return _scope_of_caller(2)

    def get(self, key: str) -> Any:
        """What is registered as `key`, or None."""
        scope, name = self.split_scope_key(key)
        if scope is None or scope == self._scope:
            return self._module_dict.get(name)
        child = self._children.get(scope)
        if child is not None:
            return child.get(name)
        return None if self.parent is None else self.root.get(key)

    def build(self, *args: Any, **kwargs: Any) -> Any:
        return self.build_func(*args, **kwargs, registry=self)

    def _add_children(self, registry: Registry) -> None:
        assert isinstance(registry, Registry)
        assert registry.scope not in self.children, f"scope {registry.scope} exists in {self.name} registry"
        self._add_child(registry)

    @deprecated_api_warning(name_dict={"module_class": "module"})
    def _register_module(self, module: Any, module_name: Any = None, force: bool = False) -> None:
        if not inspect.isclass(module) and not inspect.isfunction(module):
            raise TypeError(f"module must be a class or a function, got {module!r} of type {type(module).__name__}")
        super()._register_module(module, module_name, force)

    def deprecated_register_module(self, cls: Any = None, force: bool = False) -> Any:
        """`register_module` as it was called in MMCV 0.x, with the class first."""
        warnings.warn(
            "register_module(cls, force=...) is the old form, which goes away: use "
            "register_module(name=None, force=False, module=cls)",
            DeprecationWarning,
            stacklevel=3,
        )
        if cls is None:
            return partial(self.deprecated_register_module, force=force)
        self._register_module(cls, force=force)
        return cls

    def register_module(self, name: Any = None, force: bool = False, module: Any = None) -> Any:
        """Register a class or function: as a decorator, or directly with `module=`."""
        if not isinstance(force, bool):
            raise TypeError(f"force must be a boolean, got {force!r} of type {type(force).__name__}")
        if isinstance(name, type):
            return self.deprecated_register_module(name, force=force)
        if not (name is None or isinstance(name, str) or is_seq_of(name, str)):
            raise TypeError(f"name must be None, a str or a sequence of str, got {name!r} of {type(name).__name__}")
        if module is None:
            return partial(self._registered_as, name, force)
        return self._registered_as(name, force, module)

    def _registered_as(self, name: Any, force: bool, module: Any) -> Any:
        self._register_module(module=module, module_name=name, force=force)
        return module


def _scope_of_caller(depth: int) -> str:
    scope, module = infer_scope(depth + 1)
    return "mmcv" if module.startswith(_HOME) else scope
