"""How a config overrides its base, and how dotted options override a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.config.config_dict import ConfigDict

DELETE_KEY = "_delete_"


def merge(child: Mapping[Any, Any], base: ConfigDict, allow_list_keys: bool = False, path: str = "") -> ConfigDict:
    """`base` overridden by `child`, as a new dict; neither is changed.

    A dict meets a dict: they are merged, unless the child's has `_delete_=True`, which replaces. Anything else
    replaces. With `allow_list_keys`, a dict with the keys "0", "1", ... overrides those items of a list. As in
    MMEngine, `_delete_` in a dict that has nothing to delete stays there as a key (building ignores it).
    """
    merged = base.copy()
    for key, value in child.items():
        if path and key == DELETE_KEY:
            continue
        if isinstance(value, dict) and key in base:
            merged[key] = _merge_value(value, base[key], allow_list_keys, f"{path}{key}.")
        else:
            merged[key] = value
    return merged


def _merge_value(child: dict[Any, Any], base: Any, allow_list_keys: bool, path: str) -> Any:
    if child.get(DELETE_KEY, False):
        return {key: value for key, value in child.items() if key != DELETE_KEY}
    if isinstance(base, ConfigDict):
        return merge(child, base, allow_list_keys, path)
    if allow_list_keys and isinstance(base, list):
        return _merge_list(child, base, path)
    raise ConfigTypeError(
        f"{path[:-1]!r} is a dict here but {base!r} of type {type(base).__name__} in the base, so they cannot be "
        f"merged. To replace the base's value, write {DELETE_KEY}=True into the dict."
    )


def _merge_list(child: dict[Any, Any], base: list[Any], path: str) -> list[Any]:
    merged = list(base)
    for key, value in child.items():
        index = _index(key, base, path[:-1])
        nested = isinstance(value, dict)
        merged[index] = _merge_value(value, base[index], True, f"{path}{key}.") if nested else value
    return merged


def _index(key: Any, base: list[Any], path: str) -> int:
    if not str(key).isdigit():
        raise ConfigTypeError(f"{path!r} is a list of {len(base)} items: override one by its index, not by {key!r}")
    if int(key) >= len(base):
        raise ConfigError(f"{path!r} has {len(base)} items, so there is no index {key} to override")
    return int(key)


def expand_options(options: Mapping[str, Any]) -> ConfigDict:
    """`{"a.b": 1, "c": 2}` -> `{"a": {"b": 1}, "c": 2}`."""
    tree = ConfigDict()
    for full_key, value in options.items():
        *parents, last = str(full_key).split(".")
        node = tree
        for part in parents:
            node = node.setdefault(part, ConfigDict())
            if not isinstance(node, ConfigDict):
                raise ConfigError(f"option {full_key!r}: {part!r} is already set to {node!r} by another option")
        node[last] = value
    return tree
