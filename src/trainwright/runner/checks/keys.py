"""The top of a config: keys that nobody reads, keys that are missing, values of the wrong type."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from trainwright.base.errors import ConfigKeyError, ConfigTypeError
from trainwright.base.lazy import LazyObject
from trainwright.base.text import any_of, did_you_mean, near_names
from trainwright.config.diff import canonical
from trainwright.registry import RUNNERS
from trainwright.runner.checks.problem import Problem, warning
from trainwright.runner.checks.resolve import resolve
from trainwright.runner.spec import KEYS, NAMES, OTHER_KEYS, REQUIRED, wrong_type

_TOO_LATE = "what is made from it was made when the file was read. Change those values themselves."
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def raw(cfg: Any) -> dict[Any, Any]:
    """The tree of a Config or dict, to be read with `dict.items` and `dict.get`: they import nothing that is lazy."""
    tree = getattr(cfg, "_cfg_dict", cfg)
    assert isinstance(tree, dict)
    return tree


def spec_of(cfg: Any) -> dict[str, Any]:
    """A value for each key that Runner reads: the config's, else the default; None for one that is missing."""
    tree = raw(cfg)
    return {key.name: dict.get(tree, key.name, None if key.default is REQUIRED else key.default) for key in KEYS}


def check_names(cfg: Any) -> Iterator[Problem]:
    """Keys of a whole config that nobody reads, and those that every run needs."""
    tree = raw(cfg)
    source = getattr(cfg, "source", None)
    referenced = _references(source)
    is_flat = not any(key in referenced for key, value in dict.items(tree) if _is_setting(key, value))
    overridden = {override.keys[0] for override in getattr(cfg, "overrides", ()) if override.keys}
    for key, value in dict.items(tree):
        if key in NAMES or key in OTHER_KEYS or not _is_setting(key, value):
            continue
        if key in referenced:
            if key in overridden:
                yield warning((key,), f"changing {key!r} has no effect: {_TOO_LATE}")
            continue
        near = near_names(key, NAMES, n=1, cutoff=0.84)
        if near:
            yield Problem(
                (key,),
                f"unknown top-level key {key!r}.{any_of(near)} If it is a variable of your own, give it a name less "
                "like that one.",
            )
        elif source is not None and not (is_flat and _stands_elsewhere(tree, key)):
            # without a source nobody can know what the values were made from
            yield warning(
                (key,),
                f"nobody reads {key!r}: it is no key of Runner's, and no other value is made from it. Of a name that "
                "begins with an underscore this is never said.",
            )
    for name in ("model", "work_dir"):
        if dict.get(tree, name) is None:
            yield Problem((), f"the config lacks {name!r}, which every run needs.", error=ConfigKeyError)
    if "runner_type" in tree:
        yield from resolve(("runner_type",), dict.get(tree, "runner_type"), RUNNERS).problems


def _references(source: Any) -> frozenset[str]:
    if source is None:
        return frozenset()
    from trainwright.config.origins import references

    return references(source)


def _stands_elsewhere(tree: dict[Any, Any], key: str) -> bool:
    """Whether what a key holds is found again below the others. A dumped config has the variables that its values were
    made from side by side with them, and no line that says so.
    """
    value = dict.__getitem__(tree, key)
    wanted = canonical(value)
    is_telling = isinstance(value, (str, dict, list, tuple)) and len(value) > 0

    def found(name: Any, item: Any) -> bool:
        if (is_telling or name == key) and canonical(item) == wanted:
            return True
        if isinstance(item, dict):
            return any(found(*pair) for pair in dict.items(item))
        return isinstance(item, (list, tuple)) and any(found(None, part) for part in item)

    return any(found(name, item) for name, item in dict.items(tree) if name != key)


def _is_setting(key: Any, value: Any) -> bool:
    is_code = isinstance(value, (ModuleType, LazyObject)) or callable(value)
    return isinstance(key, str) and not key.startswith("_") and not is_code


def check_types(spec: dict[str, Any]) -> list[Problem]:
    """Values of the wrong plain type. They are put to None in `spec`, so that no other check stumbles over them; what
    is lazy there is imported.
    """
    found: list[Problem] = []
    for key in KEYS:
        value = spec[key.name]
        if isinstance(value, LazyObject):
            made = resolve((key.name,), value, None)
            found += made.problems
            value = spec[key.name] = made.target
            if made.problems:
                continue
        elif key.default is REQUIRED and value is None:
            continue  # reported as missing
        text = wrong_type(key, value)
        if text:
            found.append(Problem((key.name,), text, error=ConfigTypeError))
            spec[key.name] = None
    level = spec["log_level"]
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        text = f"{level!r} is no level; it is a number or one of {', '.join(_LEVELS)}.{did_you_mean(level, _LEVELS)}"
        found.append(Problem(("log_level",), text))
    return found
