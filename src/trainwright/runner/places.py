"""Where in the config an object stands that could not be built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trainwright.base.errors import add_note
from trainwright.config.config_dict import dicts
from trainwright.registry.build import built_from, forget_config
from trainwright.runner.checks.problem import Problem, Where, dotted, with_origins

# Keys that Runner takes out of a config, or puts into it, before the class gets it.
_TAKEN_OUT = ("priority", "by_epoch", "name", "convert_to_iter_based")


@contextmanager
def placed(cfg: Any, parts: Mapping[str, Any]) -> Iterator[None]:
    """An error of a constructor within the block gets a note: the key of its config and the line that is written in.

    `parts` are the configs that are being built, under their top-level keys.
    """
    try:
        yield
    except Exception as error:
        config = built_from(error)
        where = None if config is None else place_of(config, parts)
        if where is not None:
            origin = with_origins([Problem(where, "")], cfg)[0].origin
            add_note(error, f"config: {dotted(where)}" + ("" if origin is None else f" ({origin})"))
            forget_config(error)
        raise


def place_of(config: dict[Any, Any], parts: Mapping[str, Any]) -> Where | None:
    """The keys at which `config` stands in `parts`: that very dict; else the only equal one; else the only one that it
    could have been made from; else the part, if there is one only.
    """
    found = [place for key, part in parts.items() for place in dicts((key,), part)]
    for where, candidate in found:
        if candidate is config:
            return where
    for is_like in (_equal, _within):
        like = [where for where, candidate in found if is_like(candidate, config)]
        if len(like) == 1:
            return like[0]
    return (next(iter(parts)),) if len(parts) == 1 else None


def _equal(candidate: dict[Any, Any], config: dict[Any, Any]) -> bool:
    try:
        return bool(dict.__eq__(candidate, config) is True)
    except Exception:  # noqa: BLE001 - values such as arrays have an equality of their own
        return False


def _within(candidate: dict[Any, Any], config: dict[Any, Any]) -> bool:
    """Whether `config` may be `candidate` with arguments that its builder put in."""
    if not candidate or dict.get(candidate, "type") != dict.get(config, "type"):
        return False
    return all(
        key in config and _same(value, dict.get(config, key))
        for key, value in dict.items(candidate)
        if key not in _TAKEN_OUT
    )


def _same(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:  # noqa: BLE001 - as in `_equal`
        return False
