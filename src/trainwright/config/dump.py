"""A config written as text that reads back as an equal tree. The layout depends on the tree alone."""

from __future__ import annotations

import json
import keyword
from collections.abc import Callable, Mapping
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.config.substitute import OPENING

WIDTH = 100
_INDENT = 4
# Names that the text itself calls: a key of this name must not be assigned before the last use.
_USED_NAMES = frozenset({"dict", "set", "frozenset", "float", "complex", "slice", "range", "globals"})


def format_config(tree: Mapping[Any, Any], wrap: bool = True) -> str:
    """`tree` as Python config text, in the tree's own order: one assignment a key.

    Keys that cannot be assigned, such as `"a-b"` or `None`, are put at the end by `globals().update`. Classes,
    functions and other objects that are no plain data are written as the string of their dotted name, and listed in a
    comment at the top.
    """
    writer = _Writer(WIDTH if wrap else 0)
    lines, awkward = [], {}
    try:
        for key, value in tree.items():
            if isinstance(key, str) and key.startswith("__"):
                writer.notes.append(f"{key}: left out, because a name that begins with '__' is no config key")
            elif _is_name(key) and key not in _USED_NAMES:
                lines.append(f"{key} = {writer.write(value, 0, len(key) + 3, key)}")
            else:
                awkward[key] = value
        if awkward:
            lines.append(f"globals().update({writer.write(awkward, 0, 18, '')})")
    except RecursionError as error:
        raise ConfigError("the config contains itself, or is nested too deep, so it cannot be written") from error
    head = ["# Not plain data, written by name:", *(f"#   {note}" for note in writer.notes)] if writer.notes else []
    return "".join(f"{line}\n" for line in [*head, *lines])


def format_data(tree: Mapping[Any, Any], suffix: str) -> str:
    """`tree` as JSON or YAML. Objects become their dotted names; JSON has no tuples and sets, so they become lists."""
    if suffix == ".json":
        return json.dumps(_plain_data(tree, keep_sets=False), indent=2, ensure_ascii=False) + "\n"
    import yaml

    text: str = yaml.safe_dump(_plain_data(tree, keep_sets=True), sort_keys=False, allow_unicode=True)
    return text


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
    if OPENING.search(literal):
        literal = literal.replace("{{", "{\\x7b")
    return literal


class _Writer:
    def __init__(self, width: int) -> None:
        self.notes: list[str] = []
        self._width = width

    def write(self, value: Any, indent: int, used: int, path: str) -> str:
        """`value` as an expression: on one line if that fits beside the `used` columns, else one item a line."""
        items = self._items(value)
        if items is None:
            return self._leaf(value, path)
        opening, closing, pairs = items
        inner = indent + _INDENT
        parts = []
        for label, key, item in pairs:
            parts.append(label + self.write(item, inner, inner + len(label) + 1, f"{path}.{key}" if path else str(key)))
        flat = opening + ", ".join(parts) + ("," if opening == "(" and len(parts) == 1 else "") + closing
        if not parts or not self._width or (used + len(flat) <= self._width and "\n" not in flat):
            return flat
        pad = " " * inner
        return "".join([opening, "\n", *(f"{pad}{part},\n" for part in parts), " " * indent, closing])

    def _items(self, value: Any) -> tuple[str, str, list[tuple[str, Any, Any]]] | None:
        """Brackets and (label, key, item) of a container; None for a leaf."""
        if isinstance(value, Mapping):
            if all(_is_name(key) for key in value):
                return "dict(", ")", [(f"{key}=", key, item) for key, item in value.items()]
            return "{", "}", [(f"{self.write(key, 0, 0, 'key')}: ", key, item) for key, item in value.items()]
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
        return _Writer(0).write(value, 0, 0, "")

    def _leaf(self, value: Any, path: str) -> str:
        for kind, write in _LEAVES:
            if isinstance(value, kind):
                return write(value)
        kind_name = "class" if isinstance(value, type) else "function" if callable(value) else type(value).__name__
        self.notes.append(f"{path}: {kind_name}")
        return quote(dotted_name(value))


def _float(value: float) -> str:
    text = float.__repr__(value)
    return f'float("{text}")' if text in ("inf", "-inf", "nan") else text


def _complex(value: complex) -> str:
    return f"complex({_float(value.real)}, {_float(value.imag)})"


def _slice(value: slice) -> str:
    return f"slice({_Writer(0).write((value.start, value.stop, value.step), 0, 0, '')[1:-1]})"


_LEAVES: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    ((bool, type(None), type(...), bytes, range), repr),
    (str, quote),
    (int, int.__repr__),
    (float, _float),
    (complex, _complex),
    (slice, _slice),
    (set, lambda _: "set()"),
    (frozenset, lambda _: "frozenset()"),
)


def _is_name(key: Any) -> bool:
    # Not every identifier will do: Python normalises non-ASCII ones, and __debug__ cannot be assigned.
    return (
        isinstance(key, str)
        and key.isascii()
        and key.isidentifier()
        and not keyword.iskeyword(key)
        and key != "__debug__"
    )


def _plain_data(value: Any, keep_sets: bool) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, (int, float)):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return {_plain_data(k, keep_sets): _plain_data(v, keep_sets) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        items = sorted((_plain_data(item, keep_sets) for item in value), key=repr)
        return set(items) if keep_sets else items
    if isinstance(value, (list, tuple)):
        return [_plain_data(item, keep_sets) for item in value]
    return dotted_name(value)
