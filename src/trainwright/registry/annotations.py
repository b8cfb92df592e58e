"""Is a value of the type that an argument is annotated with? Plain types only: what is not understood is not judged."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Union

from trainwright.base.text import brief
from trainwright.registry.signature import arguments_of

# What a value of a plain type may stand for. A bool counts as an int, as in Python; a whole number is a float, and
# what a calculation gave as 12.0 or 1e5 is a whole number; lists and tuples pass for each other.
_NUMBER = (int, float)
_LIST = (list, tuple)
_MEANT: dict[Any, tuple[type, ...]] = {
    int: _NUMBER,
    float: _NUMBER,
    complex: (int, float, complex),
    bool: (bool,),
    str: (str,),
    bytes: (bytes,),
    list: _LIST,
    tuple: _LIST,
    dict: (dict,),
    set: (set, frozenset),
    frozenset: (set, frozenset),
    type(None): (type(None),),
    collections.abc.Mapping: (dict,),
    collections.abc.MutableMapping: (dict,),
    collections.abc.Sequence: (*_LIST, str, bytes),
    collections.abc.MutableSequence: _LIST,
    collections.abc.Iterable: (*_LIST, str, bytes, dict, set, frozenset),
    collections.abc.Collection: (*_LIST, str, bytes, dict, set, frozenset),
    collections.abc.Container: (*_LIST, str, bytes, dict, set, frozenset),
    collections.abc.Sized: (*_LIST, str, bytes, dict, set, frozenset),
}
_OF_ITEMS = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
# Classes whose values are never written as text, a dict or None in a config, though perhaps as numbers.
_ARRAYS = {("torch", "Tensor"), ("torch.nn.parameter", "Parameter"), ("numpy", "ndarray")}
_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, type(None))
_UNIONS = (Union, types.UnionType)


def wrong_types(obj: Callable[..., Any], kwargs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(argument, what is wrong) for each plain value in `kwargs` that its annotation does not allow.

    Judged are annotations made of int, float, bool, str, None, list, tuple, dict, set and the abstract collections;
    of a container only the outer type. A dict with the key 'type' describes an object, and passes everywhere; so does
    None where it is the default.
    """
    arguments = arguments_of(obj)
    found = []
    for name, value in kwargs.items():
        argument = None if arguments is None else arguments.by_name.get(name)
        if argument is None or not _is_judged(value) or (value is None and argument.parameter.default is None):
            continue
        allowed = _allowed(_evaluated(argument.parameter.annotation, argument.function))
        if allowed is not None and not _fits(value, allowed):
            kind = type(value).__name__
            found.append((name, f"argument {name!r} must be {_words(allowed)}, got {brief(value)} of type {kind}."))
    return found


def _is_judged(value: Any) -> bool:
    if isinstance(value, dict):
        return "type" not in value
    return type(value) in _PLAIN


def _fits(value: Any, allowed: frozenset[Any]) -> bool:
    for part in allowed:
        if part in _ARRAYS:
            if isinstance(value, (int, float, list, tuple)):
                return True
        elif part is bool and isinstance(value, int) and value in (0, 1):
            return True
        elif part is int and isinstance(value, float):
            if value.is_integer():
                return True
        elif isinstance(value, _MEANT[part]):
            return True
    return False


def _allowed(annotation: Any) -> frozenset[Any] | None:
    """The parts of an annotation, or None when one of them is not understood."""
    if annotation is None:
        return frozenset({type(None)})
    origin = typing.get_origin(annotation)
    if origin in _UNIONS:
        parts = [_allowed(part) for part in typing.get_args(annotation)]
        return None if None in parts else frozenset().union(*(part for part in parts if part is not None))
    kind = origin or annotation
    if kind in _OF_ITEMS and any(item in (int, float, bool) for item in typing.get_args(annotation)[:1]):
        return frozenset({list})  # a text is a sequence too, but not one of numbers
    try:
        if kind in _MEANT:
            return frozenset({kind})
    except TypeError:  # an annotation that cannot be hashed
        return None
    named = (getattr(kind, "__module__", None), getattr(kind, "__qualname__", None))
    return frozenset({named}) if named in _ARRAYS else None


def _words(allowed: frozenset[Any]) -> str:
    names = sorted("None" if part is type(None) else part[1] if part in _ARRAYS else part.__name__ for part in allowed)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _evaluated(annotation: Any, function: Any) -> Any:
    """What an annotation says; `inspect.Parameter.empty`, which nobody understands, where it cannot be evaluated."""
    if not isinstance(annotation, str):
        return annotation
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, getattr(inspect.unwrap(function), "__globals__", {}))["it"]
    except Exception:  # noqa: BLE001 - a name that only type checkers see, or any other error of the user's text
        return inspect.Parameter.empty
