"""ConfigDict: a dict whose keys are also attributes, all the way down."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from trainwright.base.text import did_you_mean

_ATOMS = frozenset({str, int, float, bool, type(None)})


class ConfigDict(dict[Any, Any]):
    """A dict with attribute access. Dicts that are put into it, also within lists and tuples, become ConfigDicts.

    As in MMEngine, `update` merges nested dicts instead of replacing them, and `pop` of a missing key gives None.
    """

    __slots__ = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        for key, value in dict(*args, **kwargs).items():
            super().__setitem__(key, to_config(value))

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

    def pop(self, key: Any, default: Any = None) -> Any:
        return super().pop(key, default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Merge: a dict that meets a dict is merged into it, anything else replaces what was there."""
        for key, value in dict(*args, **kwargs).items():
            mine = self.get(key)
            if isinstance(mine, ConfigDict) and isinstance(value, dict):
                mine.update(value)
            else:
                self[key] = value

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
        """A shallow copy: nested values are shared."""
        other = type(self)()
        dict.update(other, self)
        return other

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> ConfigDict:
        other = type(self)()
        memo[id(self)] = other
        for key, value in self.items():
            dict.__setitem__(other, copy.deepcopy(key, memo), copy.deepcopy(value, memo))
        return other

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return type(self), (), None, None, iter(self.items())

    def to_dict(self) -> dict[Any, Any]:
        """The same tree made of plain dicts."""
        plain = to_plain(self)
        assert isinstance(plain, dict)
        return plain


def to_config(value: Any) -> Any:
    """`value` with every dict in it a ConfigDict. ConfigDicts are kept as they are; lists and tuples are rebuilt."""
    kind = type(value)
    if kind in _ATOMS or kind is ConfigDict:
        return value
    if isinstance(value, dict):
        return value if isinstance(value, ConfigDict) else ConfigDict(value)
    return _rebuild(value, to_config)


def fresh(value: Any) -> Any:
    """As `to_config`, but nothing is shared with `value` except its leaves."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if isinstance(value, dict):
        other = ConfigDict()
        for key, item in value.items():
            dict.__setitem__(other, key, fresh(item))
        return other
    return _rebuild(value, fresh)


def to_plain(value: Any) -> Any:
    """`value` with every dict in it a plain dict, nothing shared except leaves."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return _rebuild(value, to_plain)


def _rebuild(value: Any, convert: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [convert(item) for item in value]
    if kind is tuple:
        return tuple([convert(item) for item in value])
    if isinstance(value, tuple) and hasattr(kind, "_make"):  # a namedtuple takes its items one by one
        return kind._make(convert(item) for item in value)
    if isinstance(value, (list, tuple)):
        return kind(convert(item) for item in value)
    return value
