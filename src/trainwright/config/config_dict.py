"""ConfigDict: a dict whose keys are also attributes, all the way down."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject, is_lazy
from trainwright.base.text import did_you_mean

DELETE_KEY = "_delete_"
CONFIG_MODULE = "__config__"  # `__name__` in a config, and so the module of what it defines

_ATOMS = frozenset({str, int, float, bool, type(None)})


class ConfigDict(dict[Any, Any]):
    """A dict with attribute access. Dicts that are put into it, also within lists and tuples, become ConfigDicts.

    A LazyObject is built, that is imported, when it is taken out, whichever way; `dict.items(cfg)` and its like show it
    as it is, and so does everything while a config is read. As in MMEngine, `update` merges nested dicts instead of
    replacing them, and `pop` of a missing key gives None.
    """

    __slots__ = ()

    lazy = False  # True shows LazyObjects everywhere and always, as in MMEngine

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        plain = not kwargs and len(args) == 1 and isinstance(args[0], dict)
        for key, value in dict.items(args[0]) if plain else _raw_items(args, kwargs):
            dict.__setitem__(self, key, value if type(value) in _ATOMS else to_config(value))

    # -- taking out: lazy objects are built ----------------------------------------------------------------------------
    def build_lazy(self, value: Any) -> Any:
        """`value`, or what it is built to when it is a LazyObject."""
        if isinstance(value, LazyObject) and not (self.lazy or is_lazy()):
            return value.build()
        return value

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        return value if type(value) is not LazyObject else self.build_lazy(value)

    def get(self, key: Any, default: Any = None) -> Any:
        return self.build_lazy(super().get(key, default))

    def pop(self, key: Any, default: Any = None) -> Any:
        return self.build_lazy(super().pop(key, default))

    def popitem(self) -> tuple[Any, Any]:
        key, value = super().popitem()
        return key, self.build_lazy(value)

    def values(self) -> list[Any]:  # type: ignore[override]
        return [self.build_lazy(value) for value in super().values()]

    def items(self) -> list[tuple[Any, Any]]:  # type: ignore[override]
        return [(key, self.build_lazy(value)) for key, value in super().items()]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())  # an __iter__ of its own makes `**cfg` and `dict(cfg)` go through __getitem__

    # -- putting in ----------------------------------------------------------------------------------------------------
    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, to_config(value))

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            hint = "" if name.startswith("__") else did_you_mean(name, self)
            raise AttributeError(f"there is no key {name!r} in this {type(self).__name__}.{hint}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            raise AttributeError(f"{name!r} is a method of {type(self).__name__}: set the key with cfg[{name!r}] = ...")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        try:
            del self[name]
        except KeyError:
            raise AttributeError(f"there is no key {name!r} to delete.{did_you_mean(name, self)}") from None

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *(key for key in self if isinstance(key, str))]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Merge: a dict that meets a dict is merged into it, anything else replaces what was there."""
        for key, value in _raw_items(args, kwargs):
            mine = dict.get(self, key)
            if isinstance(mine, ConfigDict) and isinstance(value, dict):
                mine.update(value)
            else:
                self[key] = value

    def merge(self, other: dict[Any, Any]) -> None:
        """Merge `other` as a config is merged into its base: dicts into dicts, and `_delete_=True` replaces."""
        merged = _merged(fresh(other), self)
        self.clear()
        dict.update(self, dict.items(merged))

    def deepcopy(self) -> ConfigDict:
        """A copy that shares nothing."""
        return copy.deepcopy(self)

    def __or__(self, other: Any) -> ConfigDict:
        if not isinstance(other, dict):
            return NotImplemented
        merged = fresh(self)
        assert isinstance(merged, ConfigDict)
        merged.update(other)
        return merged

    def __ror__(self, other: Any) -> ConfigDict:
        return ConfigDict(other) | self if isinstance(other, dict) else NotImplemented

    def __ior__(self, other: Any) -> ConfigDict:
        self.update(other)
        return self

    def copy(self) -> ConfigDict:
        """A shallow copy: nested dicts are shared. Lists are not, as in MMEngine."""
        other = type(self)()
        for key, value in dict.items(self):
            dict.__setitem__(other, key, value if type(value) in _ATOMS else to_config(value))
        return other

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigDict:
        other = type(self)()
        memo[id(self)] = other
        for key, value in dict.items(self):
            dict.__setitem__(other, copy.deepcopy(key, memo), copy.deepcopy(value, memo))
        return other

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (), None, None, iter(dict.items(self))

    def to_dict(self) -> dict[Any, Any]:
        """The same tree made of plain dicts, lazy objects as the text of their dotted names."""
        return self._plain(named=True)

    def _to_lazy_dict(self) -> dict[Any, Any]:
        """The same tree made of plain dicts, lazy objects as they are."""
        return self._plain(named=False)

    def _plain(self, named: bool) -> dict[Any, Any]:
        try:
            plain = to_plain(self, named)
        except RecursionError as error:
            raise ConfigError("the config contains itself, or is nested too deep") from error
        assert isinstance(plain, dict)
        return plain


def shared(tree: dict[Any, Any]) -> ConfigDict:
    """A copy that shares every value with `tree`."""
    other = ConfigDict()
    dict.update(other, dict.items(tree))
    return other


def to_config(value: Any) -> Any:
    """`value` with every dict in it a ConfigDict. ConfigDicts are kept as they are; lists and tuples are rebuilt."""
    kind = type(value)
    if kind in _ATOMS or kind is ConfigDict:
        return value
    if isinstance(value, dict):
        return value if isinstance(value, ConfigDict) else ConfigDict(value)
    return _rebuild(value, to_config)


def fresh(value: Any, limit: int | None = None) -> Any:
    """As `to_config`, but nothing is shared with `value` except its leaves. What `value` holds in several places
    becomes several values; with more than `limit` items in all that is an error.
    """
    return (_copy if limit is None else _CountingCopy(limit))(value)


def _copy(value: Any) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is ConfigDict or isinstance(value, dict):
        other = ConfigDict()
        for key, item in dict.items(value):
            dict.__setitem__(other, key, item if type(item) in _ATOMS else _copy(item))
        return other
    return _rebuild(value, _copy)


class _CountingCopy:
    """`_copy` that gives up: a few lines can describe a tree that no memory holds."""

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def __call__(self, value: Any) -> Any:
        if isinstance(value, dict):
            self._count(len(value))
            other = ConfigDict()
            for key, item in dict.items(value):
                dict.__setitem__(other, key, item if type(item) in _ATOMS else self(item))
            return other
        if isinstance(value, (list, tuple)):
            self._count(len(value))
            return _rebuild(value, self)
        return value

    def _count(self, n_items: int) -> None:
        self.left -= n_items
        if self.left < 0:
            raise ConfigError(f"the config holds more than {self.limit:,} items when it is written out")


def dicts(where: tuple[Any, ...], value: Any) -> Iterator[tuple[tuple[Any, ...], dict[Any, Any]]]:
    """Every dict in a tree, from the outside in, with its place."""
    if isinstance(value, dict):
        yield where, value
        for key, item in dict.items(value):
            yield from dicts((*where, key), item)
    elif isinstance(value, (list, tuple)):
        for n, item in enumerate(value):
            yield from dicts((*where, n), item)


def look_up(tree: Any, keys: Iterable[Any]) -> Any:
    """The value at a path, lazy objects as they are; None where there is none."""
    for key in keys:
        if isinstance(tree, dict):
            tree = dict.get(tree, key)
        elif isinstance(tree, (list, tuple)) and str(key).isdecimal() and int(key) < len(tree):
            tree = tree[int(key)]
        else:
            return None
    return tree


def weighs_less(value: Any, limit: int) -> bool:
    """Whether `value` holds fewer than `limit` items, what stands in several places counted in each."""
    left = limit

    def count(item: Any) -> bool:
        nonlocal left
        if isinstance(item, dict):
            left -= len(item)
            return left > 0 and all(count(key) and count(part) for key, part in dict.items(item))
        if isinstance(item, (list, tuple, set, frozenset)):
            left -= len(item)
            return left > 0 and all(count(part) for part in item)
        return True

    return count(value)


def to_plain(value: Any, named: bool = False) -> Any:
    """`value` with every dict in it a plain dict, nothing shared but leaves; `named` turns lazy objects into text."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is LazyObject:
        return value.dotted if named else value
    if isinstance(value, dict):
        return {key: to_plain(item, named) for key, item in dict.items(value)}
    return _rebuild(value, lambda item: to_plain(item, named))


def _merged(child: Any, base: Any) -> Any:
    if not isinstance(child, dict):
        return child
    replaces = dict.pop(child, DELETE_KEY, False)
    if not isinstance(base, dict):
        return child
    result = ConfigDict() if replaces else shared(base)
    for key, value in dict.items(child):
        dict.__setitem__(result, key, _merged(value, dict.get(result, key)))
    return result


def _raw_items(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Any, Any]]:
    """What `dict(*args, **kwargs)` would hold, without building what is lazy."""
    if args == (None,):
        return list(kwargs.items())
    if len(args) == 1 and isinstance(args[0], dict):
        return [*dict.items(args[0]), *kwargs.items()]
    return list(dict(*args, **kwargs).items())


def _rebuild(value: Any, convert: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [item if type(item) in _ATOMS else convert(item) for item in value]
    if kind is tuple:
        return tuple([item if type(item) in _ATOMS else convert(item) for item in value])
    if isinstance(value, tuple) and hasattr(kind, "_make"):  # a namedtuple takes its items one by one
        items = [convert(item) for item in value]
        return tuple(items) if kind.__module__ == CONFIG_MODULE else kind._make(items)  # no process finds such a class
    if isinstance(value, (list, tuple)):
        return kind(convert(item) for item in value)
    return LazyObject(value.__name__) if kind is ModuleType else value  # a module cannot be copied; its name can
