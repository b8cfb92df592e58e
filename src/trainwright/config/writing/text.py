"""A config written as text that reads back as an equal tree. The layout depends on the tree alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Set
from datetime import date, time, timedelta
from enum import Enum
from functools import partial
from types import FunctionType
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject
from trainwright.config.reading.substitute import OPENING
from trainwright.config.writing.imports import Imports, is_name

WIDTH = 100
_INDENT = 4
# Names that the text itself calls: a key of this name must not be assigned before the last use.
_USED_NAMES = frozenset({"dict", "set", "frozenset", "float", "complex", "slice", "range", "globals"})
_HUGE = 10**600  # from here on Python may refuse to write or read a number with all its digits


def format_config(tree: dict[Any, Any], imported: Set[str] = frozenset(), wrap: bool = True) -> str:
    """`tree` as Python config text, in the tree's own order: one assignment a key.

    Lazy objects, and classes and functions that can be imported, are imported at the top, those that the keys
    `imported` hold under that name; this makes the text import syntax. Keys that cannot be assigned, such as `"a-b"` or
    `None`, are put at the end by `globals().update`. Other objects that are no plain data are written as the string of
    their name, and listed in a comment at the top.
    """
    imports = Imports({*tree, *_USED_NAMES})
    for name in sorted(imported):
        imports.bind(name, dict.__getitem__(tree, name))
    writer = _Writer(WIDTH if wrap else 0, imports)
    lines, awkward = [], {}
    try:
        for key, value in dict.items(tree):
            if key in imported:
                continue
            if isinstance(key, str) and key.startswith("__"):
                writer.notes.append(f"{key}: left out, because a name that begins with '__' is no config key")
            elif isinstance(value, FunctionType) and not imports.can_import(value):
                writer.notes.append(f"{key}: left out, because a function of a config is no setting")
            elif is_name(key) and key not in _USED_NAMES:
                lines.append(f"{key} = {writer.write(value, 0, len(key) + 3, key)}")
            else:
                awkward[key] = value
        if awkward:
            lines.append(f"globals().update({writer.write(awkward, 0, 18, '')})")
    except RecursionError as error:
        raise ConfigError("the config contains itself, or is nested too deep, so it cannot be written") from error
    notes = [f"#   {_plain_line(note)}" for note in writer.notes]
    head = ["# Not plain data, written by name:", *notes] if notes else []
    imported_lines = [*imports.lines(), ""] if imports.lines() else []
    return "".join(f"{line}\n" for line in [*head, *imported_lines, *lines])


def format_data(tree: Mapping[Any, Any], suffix: str) -> str:
    """`tree` as JSON or YAML. Objects become their dotted names. YAML keeps tuples, sets and slices; JSON has only
    lists and text keys.
    """
    if suffix == ".json":
        data = _plain_data(tree, keep=False)
        text = json.dumps(data, indent=2, ensure_ascii=False)
        if not _is_unicode(text):
            text = json.dumps(data, indent=2)
        return OPENING.sub(lambda match: "{\\u007b" + match[0][2:], text) + "\n"
    from trainwright.config.yaml_tags import write

    return write(_plain_data(tree, keep=True))


def dotted_name(value: Any) -> str:
    """`module.qualname` of a class or function; the text of anything else."""
    name = getattr(value, "__qualname__", None)
    module = getattr(value, "__module__", None)
    if isinstance(name, str) and isinstance(module, str):
        return f"{module}.{name}"
    return str(getattr(value, "__name__", value))


def quote(text: str) -> str:
    """A Python literal of `text`, in double quotes where that needs no escape, safe from `{{ }}` substitution."""
    literal = str.__repr__(text)
    if literal[0] == "'" and '"' not in text:
        literal = f'"{literal[1:-1]}"'
    return _unsubstituted(literal)


def _unsubstituted(literal: str) -> str:
    return literal.replace("{{", "{\\x7b") if OPENING.search(literal) else literal


def _plain_line(text: str) -> str:
    """`text` as it may stand in a comment: in one line, and nothing to substitute in it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text).replace("{{", "{ {")


class _Writer:
    def __init__(self, width: int, imports: Imports) -> None:
        self.notes: list[str] = []
        self._width = width
        self._imports = imports

    def write(self, value: Any, indent: int, used: int, path: str) -> str:
        """`value` as an expression: on one line if that fits beside the `used` columns, else one item a line."""
        items = self._items(value)
        if items is None:
            return self._leaf(value, path)
        opening, closing, pairs = items
        inner = indent + _INDENT
        parts = []
        for label, key, item in pairs:
            name = key if isinstance(key, str) else label[:-2] or str(key)
            parts.append(label + self.write(item, inner, inner + len(label) + 1, f"{path}.{name}" if path else name))
        flat = opening + ", ".join(parts) + ("," if opening == "(" and len(parts) == 1 else "") + closing
        if not parts or not self._width or (used + len(flat) <= self._width and "\n" not in flat):
            return flat
        pad = " " * inner
        return "".join([opening, "\n", *(f"{pad}{part},\n" for part in parts), " " * indent, closing])

    def _items(self, value: Any) -> tuple[str, str, list[tuple[str, Any, Any]]] | None:
        """Brackets and (label, key, item) of a container; None for a leaf."""
        if isinstance(value, Mapping):
            pairs = dict.items(value) if isinstance(value, dict) else value.items()
            if all(is_name(key) for key in value):
                return "dict(", ")", [(f"{key}=", key, item) for key, item in pairs]
            return "{", "}", [(f"{self.write(key, 0, 0, 'key')}: ", key, item) for key, item in pairs]
        if isinstance(value, list):
            return "[", "]", [("", i, item) for i, item in enumerate(value)]
        if isinstance(value, tuple):
            return "(", ")", [("", i, item) for i, item in enumerate(value)]
        if isinstance(value, (set, frozenset)) and value:
            ordered = sorted(value, key=lambda item: (type(item).__name__, self._flat(item)))
            brackets = ("{", "}") if isinstance(value, set) else ("frozenset({", "})")
            return (*brackets, [("", i, item) for i, item in enumerate(ordered)])
        return None

    def _flat(self, value: Any) -> str:
        return _Writer(0, self._imports).write(value, 0, 0, "")

    def _leaf(self, value: Any, path: str) -> str:
        for kind, write in _LEAVES:
            if isinstance(value, kind):
                return write(value)
        if isinstance(value, slice):
            return f"slice({', '.join(self._flat(part) for part in (value.start, value.stop, value.step))})"
        if isinstance(value, LazyObject):
            return self._lazy(value)
        if isinstance(value, _DATES):
            name = self._imports.root(LazyObject("datetime"))
            return repr(value).replace("datetime.", f"{name}.")
        if isinstance(value, os.PathLike) and type(value).__module__.partition(".")[0] == "pathlib":
            pure = type(value).__name__
            name = self._imports.root(LazyObject("pathlib", pure if pure.startswith("Pure") else "Path"))
            return f"{name}({quote(str(value))})"
        if type(value) is partial:
            name = self._imports.root(LazyObject("functools", "partial"))
            return self._call(name, (value.func, *value.args), value.keywords)
        if isinstance(value, Enum) and is_name(value.name) and self._imports.can_import(type(value)):
            return f"{self._imports.reference(type(value))}.{value.name}"
        if self._imports.can_import(value):
            return self._imports.reference(value)
        kind_name = "class" if isinstance(value, type) else "function" if callable(value) else type(value).__name__
        self.notes.append(f"{path}: {kind_name}")
        return quote(dotted_name(value))

    def _lazy(self, value: LazyObject) -> str:
        if value._source is None:
            return self._imports.root(value)
        source = self._lazy(value._source)
        if value._call is None:
            return f"{source}.{value._imported}"
        return self._call(source, *value._call)

    def _call(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        named = [f"{name}={self._flat(item)}" for name, item in kwargs.items() if is_name(name)]
        others = {name: item for name, item in kwargs.items() if not is_name(name)}
        parts = [*map(self._flat, args), *named, *([f"**{self._flat(others)}"] if others else [])]
        return f"{function}({', '.join(parts)})"


def _int(value: int) -> str:
    try:
        return int.__repr__(value)
    except ValueError:  # more digits than Python likes to write out
        return hex(value)


def integer(value: int) -> str:
    """A literal of `value`, which may have more digits than Python writes in decimal."""
    return int.__repr__(value) if -_HUGE < value < _HUGE else hex(value)


def _float(value: float) -> str:
    text = float.__repr__(value)
    return f'float("{text}")' if text in ("inf", "-inf", "nan") else text


def _complex(value: complex) -> str:
    return f"complex({_float(value.real)}, {_float(value.imag)})"


_DATES = (date, time, timedelta)  # a datetime is a date
_LEAVES: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    ((bool, type(None)), repr),
    (bytes, lambda value: _unsubstituted(bytes.__repr__(value))),
    (range, lambda value: f"range({integer(value.start)}, {integer(value.stop)}, {integer(value.step)})"),
    (type(...), lambda _: "..."),
    (str, quote),
    (int, _int),
    (float, _float),
    (complex, _complex),
    (set, lambda _: "set()"),
    (frozenset, lambda _: "frozenset()"),
)


def _plain_data(value: Any, keep: bool) -> Any:
    """`value` in the types of YAML (`keep`) or JSON."""
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else _plain_text(value, keep)
    if isinstance(value, (int, float)):
        return _number(value, keep)
    if isinstance(value, Mapping):
        pairs = dict.items(value) if isinstance(value, dict) else value.items()
        return {_plain_key(k, keep): _plain_data(v, keep) for k, v in pairs}
    if isinstance(value, (set, frozenset)):
        items = sorted((_plain_data(item, keep) for item in value), key=repr)
        return set(items) if keep else items
    if isinstance(value, (list, tuple)):
        items = [_plain_data(item, keep) for item in value]
        return tuple(items) if keep and isinstance(value, tuple) else items
    if keep and isinstance(value, (slice, bytes, date)):
        return value
    return dotted_name(value)


def _plain_key(key: Any, keep: bool) -> Any:
    if not keep and not isinstance(key, (str, bool, int, float, type(None))):
        return dotted_name(key)
    if isinstance(key, frozenset):
        raise ConfigError(f"YAML has no sets as keys, but the config has {key!r}: dump it as .py")
    return _plain_data(key, keep)


def _plain_text(value: str, keep: bool) -> str:
    if keep and not _is_unicode(value):
        raise ConfigError(f"YAML cannot hold {value!r}, which is no valid Unicode: dump the config as .py or .json")
    return str.__str__(value)


def _number(value: float, keep: bool) -> float:
    if not isinstance(value, int):
        return float(value)
    if not keep and not -_HUGE < value < _HUGE:
        raise ConfigError(f"JSON cannot hold a number of {value.bit_length()} bits: dump the config as .py or .yaml")
    return int(value)


def _is_unicode(text: str) -> bool:
    """Whether a file can hold it: half of a surrogate pair is no character."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)
