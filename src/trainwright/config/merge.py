"""How a config overrides its base, and how dotted options override a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainwright.base.errors import ConfigError, ConfigKeyError, ConfigTypeError
from trainwright.config.config_dict import DELETE_KEY, ConfigDict, shared, to_config


class MergeConflict(ConfigTypeError):
    """Two values that cannot be merged; `keys` is their path."""

    def __init__(self, message: str, keys: tuple[Any, ...]) -> None:
        super().__init__(message)
        self.keys = keys


def merge(
    child: dict[Any, Any], base: ConfigDict, allow_list_keys: bool = False, at: tuple[Any, ...] = ()
) -> ConfigDict:
    """`base` overridden by `child`, as a new dict; neither is changed.

    A dict meets a dict: they are merged, unless the child's has `_delete_=True`, which replaces. Anything else
    replaces. With `allow_list_keys`, a dict with the keys "0", "1", ... overrides those items of a list. As in
    MMEngine, `_delete_` in a dict that has nothing to delete stays there as a key (building ignores it).
    """
    merged = shared(base)
    for key, value in dict.items(child):
        if at and key == DELETE_KEY:
            continue
        if isinstance(value, dict) and key in base:
            value = _merge_value(value, dict.__getitem__(base, key), allow_list_keys, (*at, key))
        dict.__setitem__(merged, key, to_config(value))
    return merged


def _merge_value(child: dict[Any, Any], base: Any, allow_list_keys: bool, at: tuple[Any, ...]) -> Any:
    if dict.get(child, DELETE_KEY, False):
        return {key: value for key, value in dict.items(child) if key != DELETE_KEY}
    if isinstance(base, ConfigDict):
        return merge(child, base, allow_list_keys, at)
    if allow_list_keys and isinstance(base, list):
        return merge_list(child, base, at)
    raise MergeConflict(
        f"{_dotted(at)!r} is a dict here but {base!r} of type {type(base).__name__} in the base, so they cannot be "
        f"merged. To replace the base's value, write {DELETE_KEY}=True into the dict.",
        at,
    )


def merge_list(child: dict[Any, Any], base: list[Any], at: tuple[Any, ...]) -> list[Any]:
    """A copy of `base` with the items that are at the indices which `child` has as keys overridden."""
    merged = list(base)
    for key, value in dict.items(child):
        index = _index(key, base, at)
        nested = isinstance(value, dict)
        merged[index] = _merge_value(value, base[index], True, (*at, key)) if nested else value
    return merged


def _index(key: Any, base: list[Any], at: tuple[Any, ...]) -> int:
    path = _dotted(at)
    if not str(key).isdigit():
        raise MergeConflict(f"{path!r} is a list of {len(base)} items: override one by its index, not by {key!r}", at)
    if int(key) >= len(base):
        raise ConfigKeyError(f"{path!r} has {len(base)} items, so there is no index {key} to override")
    return int(key)


def _dotted(at: tuple[Any, ...]) -> str:
    return ".".join(map(str, at))


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
        dict.__setitem__(node, last, to_config(value))
    return tree


def option_keys(options: Mapping[str, Any], tree: Mapping[Any, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """For each option the path that it set in `tree`, numbers for the indices of lists, and its value."""
    for full_key, value in options.items():
        node: Any = tree
        keys: list[Any] = []
        for part in str(full_key).split("."):
            key: Any = int(part) if isinstance(node, list) and part.isdigit() else part
            keys.append(key)
            if isinstance(node, dict):
                node = dict.get(node, key)
            elif isinstance(node, list) and isinstance(key, int) and key < len(node):
                node = node[key]
            else:
                node = None
        yield tuple(keys), value
