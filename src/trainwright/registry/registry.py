"""The Registry: names to classes and functions, in a tree of scopes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from logging import WARNING
from typing import Any, TypeVar, overload

from trainwright.base.defaults import defaults
from trainwright.base.errors import MissingExtraError, RegistryError, RuleTypeError, ScopeTakenError
from trainwright.base.logs import print_log
from trainwright.base.text import table
from trainwright.registry.dotted import import_dotted
from trainwright.registry.scope import (
    NOT_FOUND,
    ROOT_SCOPE,
    DefaultScope,
    canonical_scope,
    import_scope,
    infer_scope,
    install_hint,
    register_all,
    try_import,
)
from trainwright.registry.unknown import describe_place, rich_table, unknown_name_message

F = TypeVar("F", bound=Callable[..., Any])


class Registry:
    """Maps names to classes and functions, and builds them from a config.

    `parent` puts the registry into a tree: a name that is not found here is looked up in the parents. `scope` is the
    top package of the caller unless given, and is the prefix that reaches this registry from elsewhere
    (`"mmdet.ResNet"`). `locations` are modules that are imported at the first look-up that fails without them.
    `build_func(cfg, registry=...)` is inherited from the parent; the default is `build_from_cfg`.
    """

    def __init__(
        self,
        name: str,
        build_func: Callable[..., Any] | None = None,
        parent: Registry | None = None,
        scope: str | None = None,
        locations: Sequence[str] = (),
    ) -> None:
        from trainwright.registry.build import build_from_cfg

        inferred, self._module = infer_scope(1)
        if scope is not None and not isinstance(scope, str):
            raise RuleTypeError(f"scope of registry {name!r} must be a string, got {scope!r}")
        if parent is not None and not isinstance(parent, Registry):
            raise RuleTypeError(f"parent of registry {name!r} must be a Registry, got {parent!r}")
        self._name = name
        self._scope = inferred if scope is None else scope
        self._module_dict: dict[str, Any] = {}
        self._deferred: dict[str, Callable[[], Any]] = {}
        self._extras: set[str] = set()
        self._children: dict[str, Registry] = {}
        self._locations = list(locations)
        self._failed: dict[str, str] = {}
        self._imported = False
        self.parent = parent
        inherited: Callable[..., Any] = build_from_cfg if parent is None else parent.build_func
        self.build_func: Callable[..., Any] = build_func or inherited
        if parent is not None:
            parent._add_child(self)

    # -- what it holds -------------------------------------------------------------------------------------------------
    @property
    def name(self) -> str:
        return self._name

    @property
    def scope(self) -> str:
        """The prefix of its names; of the root registries the name that the engine goes by."""
        return defaults.package if self._scope == ROOT_SCOPE else self._scope

    @property
    def module_dict(self) -> dict[str, Any]:
        """Names registered here (not in parents or children)."""
        return self._module_dict

    @property
    def children(self) -> dict[str, Registry]:
        """Child registries by scope."""
        return self._children

    def __len__(self) -> int:
        return len(self._module_dict)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, key: str) -> bool:
        try:
            return self.get(key) is not None
        except MissingExtraError:  # of a deferred name, whose package is not there
            return False

    def __repr__(self) -> str:
        if defaults.package == "mmengine":
            objects = {**dict.fromkeys(self._deferred, "imported when it is named"), **self._module_dict}
            names = sorted(objects)
            return rich_table(f"Registry of {self._name}", [(name, str(objects[name])) for name in names])
        places = dict.fromkeys(self._deferred, "imported when it is named")
        places.update((name, describe_place(obj)) for name, obj in self._module_dict.items())
        rows = sorted(places.items())
        return f"Registry of {self._name}, scope {self.scope!r}, {len(rows)} names\n{table(rows, ('name', 'object'))}"

    # -- the tree ------------------------------------------------------------------------------------------------------
    @property
    def root(self) -> Registry:
        """The registry at the top of this one's tree."""
        return self._get_root_registry()

    @staticmethod
    def infer_scope() -> str:
        """The top package of the caller's caller."""
        return infer_scope(2)[0]

    @staticmethod
    def split_scope_key(key: str) -> tuple[str | None, str]:
        """`"mmdet.ResNet"` -> `("mmdet", "ResNet")`; `"ResNet"` -> `(None, "ResNet")`."""
        scope, dot, rest = key.partition(".")
        return (scope, rest) if dot else (None, key)

    def _get_root_registry(self) -> Registry:
        root = self
        while root.parent is not None:
            root = root.parent
        return root

    def _search_child(self, scope: str) -> Registry | None:
        """This registry or the descendant whose scope is `scope`."""
        if self._scope == canonical_scope(scope):
            return self
        for child in self._children.values():
            found = child._search_child(scope)
            if found is not None:
                return found
        return None

    def _add_child(self, child: Registry) -> None:
        if child.scope in self._children:
            raise ScopeTakenError(
                f"scope {child.scope} exists in {self._name} registry: a child made in "
                f"{self._children[child.scope]._module} has it; give the new one another scope=..."
            )
        self._children[child.scope] = child

    @contextmanager
    def switch_scope_and_registry(self, scope: str | None) -> Iterator[Registry]:
        """Within the block `scope` is the default scope; yields the registry of the default scope in this one's tree.

        Yields this registry itself when there is no default scope, or, with a warning, when no registry has it.
        """
        with DefaultScope.overwrite_default_scope(scope):
            default = DefaultScope.get_current_instance()
            if default is None or canonical_scope(default.scope_name) == self._scope:
                yield self
                return
            found = self._find_scope(default.scope_name)
            if found is None:
                _warn_unknown_scope(default.scope_name, self._name, self.scope)
            yield found or self

    def _find_scope(self, scope: str) -> Registry | None:
        root = self._get_root_registry()
        found = root._search_child(scope)
        if found is None and not import_scope(canonical_scope(scope)):
            found = root._search_child(scope)
        return found

    # -- looking up ----------------------------------------------------------------------------------------------------
    def import_from_location(self) -> None:
        """Import the locations, once. A failure is kept for the message of the look-up that misses a name by it."""
        if self._imported:
            return
        self._imported = True
        for location in self._locations:
            failure = try_import(location)
            if failure:
                self._failed[location] = failure
        if not self._locations:
            failure = register_all(self._scope)
            if failure:
                self._failed[f"{self._scope}.utils"] = failure

    def get(self, key: str) -> Any:
        """The object registered as `key`, here, in a parent, or in the scope that prefixes it; None if there is none.

        `key` may also be the dotted path of anything importable, "pkg.mod.attr" or "pkg.mod:attr". Raises
        RegistryError if the name is missing and a location failed to import, because it might have been defined there.
        """
        found = self._lookup(key)
        if found is None and any(
            failure != NOT_FOUND for registry in self._lineage() for failure in registry._failed.values()
        ):
            raise RegistryError(unknown_name_message(self, key))
        return found

    def resolve(self, key: str) -> Any:
        """As `get`, but an unknown name raises RegistryError with near names, the places tried and the line to add."""
        found = self._lookup(key)
        if found is None:
            raise RegistryError(unknown_name_message(self, key))
        return found

    def _lookup(self, key: str) -> Any:
        if not isinstance(key, str):
            raise TypeError(
                f"a name looked up in a registry must be a string, got {key!r} of type {type(key).__name__}"
            )
        found = self._registered(key)
        return import_dotted(key) if found is None else found

    def _registered(self, key: str, may_import: bool = True) -> Any:
        """What is registered as `key`: here or in the parents, else by the scope that `key` begins with.

        Another scope's name may be one that its parents have; this registry's own scope names only what is here.
        """
        for registry in self._lineage():
            found = registry._own(key)
            if found is not None:
                return found
        scope, rest = self.split_scope_key(key)
        if scope is None:
            return None
        owner = self._find_scope(scope) if may_import else self.root._search_child(scope)
        if owner is None:
            return None
        return owner._own(rest) if owner is self else owner._registered(rest, may_import=False)

    def _own(self, name: str) -> Any:
        if name not in self._module_dict:
            self.import_from_location()
        if name not in self._module_dict and name in self._deferred:
            return self._deferred[name]()
        return self._module_dict.get(name)

    def _lineage(self) -> Iterator[Registry]:
        registry: Registry | None = self
        while registry is not None:
            yield registry
            registry = registry.parent

    # -- building and registering --------------------------------------------------------------------------------------
    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the object that `cfg` describes, with this registry's build function."""
        return self.build_func(cfg, *args, **kwargs, registry=self)

    @overload
    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: None = None
    ) -> Callable[[F], F]: ...

    @overload
    def register_module(self, name: str | Sequence[str] | None = None, force: bool = False, *, module: F) -> F: ...

    def register_module(
        self, name: str | Sequence[str] | None = None, force: bool = False, module: Any | None = None
    ) -> Any:
        """Register a class or function: as a decorator, or directly with `module=`.

        `name` (one or several) replaces the object's own name; `force=True` replaces what has the name already.
        """
        if not isinstance(force, bool):
            raise TypeError(
                f"force must be a boolean, but got {type(force)}: {force!r}. A name is given by register_module(name=)"
            )
        if isinstance(name, (list, tuple)):
            names: list[str] | None = list(name)
        else:
            names = None if name is None else [name]  # type: ignore[list-item]
        if names is not None and not all(isinstance(n, str) for n in names):
            raise TypeError(
                f"name must be None, an instance of str, or a sequence of str, but got {type(name)}: {name!r}"
            )
        if module is not None:
            self._register_module(module, names, force)
            return module

        def register(module: F) -> F:
            self._register_module(module, names, force)
            return module

        return register

    def register_extra(self, module: F) -> F:
        """As a decorator: register what gives its name up to any other that is registered by it, earlier or later.

        For what this package has beyond MMEngine: a project that has a class of that name need not rename it.
        """
        if module.__name__ not in self._module_dict:
            self._module_dict[module.__name__] = module
            self._extras.add(module.__name__)
        return module

    def register_deferred(self, name: str, load: Callable[[], Any]) -> None:
        """`load()` gives the object when `name` is looked up, and imports then what it needs; it may raise
        MissingExtraError. What is registered under the name in the usual way goes before it.
        """
        self._deferred[name] = load

    def _register_module(
        self, module: Any, module_name: str | Sequence[str] | None = None, force: bool = False
    ) -> None:
        if not callable(module):
            raise TypeError(
                f"module must be Callable, but got {type(module)}: {module!r} can be no class or function to register"
            )
        names = [module_name] if isinstance(module_name, str) else module_name
        for name in names or [module.__name__]:
            if not force and name in self._module_dict and name not in self._extras:
                raise RegistryError(
                    f"{name} is already registered in {self._name} at {describe_place(self._module_dict[name])} (scope "
                    f"{self._scope!r}). Choose another name, or pass force=True to replace it."
                )
            self._module_dict[name] = module
            self._extras.discard(name)


@cache
def _warn_unknown_scope(wanted: str, name: str, used: str) -> None:
    print_log(
        f"no registry {name!r} has the scope {wanted!r}; names are looked up in scope {used!r}. If the scope is right, "
        f"its package must define the registry in '{wanted}.registry'.{install_hint(wanted)}",
        "current",
        level=WARNING,
    )
