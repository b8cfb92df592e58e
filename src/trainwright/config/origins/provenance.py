"""Where the values of a config come from. Nothing of this happens while a config is read, and nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any

from trainwright.config.origins.lines import UNKNOWN, DictLines, Leaf, Lines, ListLines, Origin, child, merged
from trainwright.config.origins.source import SCOPE_KEY, source_lines
from trainwright.config.origins.statements import parse
from trainwright.config.reading.document import BASE_KEY
from trainwright.config.reading.substitute import MARKER
from trainwright.config.sources import Override, SourceFile

__all__ = ["Origin", "origins", "references", "trace"]

_CHANGING = frozenset({"update", "merge", "append", "extend", "insert", "pop", "setdefault", "clear", "remove"})


IN_CODE = Origin(None, None, "override", "set in code")


def trace(
    source: SourceFile | None, overrides: Sequence[Override], keys: tuple[Any, ...], value: Any = UNKNOWN
) -> Origin | None:
    """What set the value at `keys` of the final tree, None where that is not known.

    A value that was taken over from a variable or a base has the line where it was written. A container has the line
    where it was created, though others may have changed items of it. Where `value` is given and the files have another
    literal in its place, it was set by code since.
    """
    try:
        node: Lines | None = _final_lines(source, overrides)
        for key in keys:
            node = None if node is None else _step(node, key)
    except (RecursionError, TypeError):  # nested too deep; a key that cannot be one
        return None
    return None if node is None or not keys else _origin(node, value)


def _origin(node: Lines, value: Any) -> Origin:
    written = node.constant if isinstance(node, Leaf) else UNKNOWN
    if value is UNKNOWN or written is UNKNOWN or value is written:
        return node.origin
    is_same = type(value) is type(written) and (value == written or value != value)  # NaN differs from itself
    return node.origin if is_same else IN_CODE


def origins(
    source: SourceFile | None, overrides: Sequence[Override], tree: Any
) -> Iterator[tuple[tuple[Any, ...], Any, Origin | None]]:
    """The keys, value and origin of every leaf of `tree`, in its order. An empty dict or list is a leaf."""
    try:
        lines: Lines | None = _final_lines(source, overrides)
    except (RecursionError, TypeError):
        lines = None
    yield from _leaves(tree, lines, ())


def _leaves(
    value: Any, node: Lines | None, keys: tuple[Any, ...]
) -> Iterator[tuple[tuple[Any, ...], Any, Origin | None]]:
    pairs: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        pairs = list(dict.items(value))  # a ConfigDict's own `items` builds lazy objects
    elif isinstance(value, (list, tuple)):
        pairs = list(enumerate(value))
    if not pairs:
        yield keys, value, None if node is None else _origin(node, value)
    for key, item in pairs:
        yield from _leaves(item, None if node is None else _step(node, key), (*keys, key))


def _step(node: Lines, key: Any) -> Lines | None:
    found = child(node, key)
    if found is None and isinstance(node, DictLines):
        if isinstance(key, str) and key.isdecimal():
            return child(node, int(key))
        if key == SCOPE_KEY:  # put in by the reader, with the dict
            return Leaf(node.origin)
    return found


def _final_lines(source: SourceFile | None, overrides: Sequence[Override]) -> DictLines:
    lines: Lines = DictLines(Origin(None, None)) if source is None else source_lines(source)
    for override in overrides:
        origin = Origin(None, None, "override", override.label)
        change = _override_lines(override.value, origin)
        for key in reversed(override.keys):
            change = DictLines(origin, {key: change}, True)
        lines = merged(change, lines, list_keys=True)
    assert isinstance(lines, DictLines)
    return lines


def _override_lines(value: Any, origin: Origin) -> Lines:
    if isinstance(value, dict):
        return DictLines(origin, {key: _override_lines(item, origin) for key, item in dict.items(value)}, True)
    if isinstance(value, (list, tuple)):
        return ListLines(origin, [_override_lines(item, origin) for item in value], isinstance(value, tuple))
    return Leaf(origin, value)


# -- names that are read -----------------------------------------------------------------------------------------------
def references(source: SourceFile | None) -> frozenset[str]:
    """The top-level names that any file of the chain reads: `x`, `_base_.x`, `_base_['x']` and `{{ _base_.x }}`.

    A name whose value is only changed (`x.update(...)`, `x.y = 1`) is not read by that.
    """
    names: set[str] = set()
    for file in [] if source is None else source.chain():
        names.update(key.partition(".")[0] for key in file.base_keys)
        if file.syntax != "data":
            names |= _names_read(file.code)
    return frozenset(names)


def _names_read(code: str) -> set[str]:
    try:
        nodes = list(ast.walk(parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    changed = {id(name) for node in nodes for name in _changed_names(node)}
    names = {
        node.id
        for node in nodes
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in changed
    }
    of_base = {_base_key(node) for node in nodes if id(node) not in changed}
    return {name for name in names | of_base if name and name != BASE_KEY and not MARKER.fullmatch(name)}


def _base_key(node: ast.AST) -> str:
    """`x` of `_base_.x` and `_base_['x']`, where its value is read."""
    if not isinstance(node, (ast.Attribute, ast.Subscript)) or not isinstance(node.ctx, ast.Load):
        return ""
    if not isinstance(node.value, ast.Name) or node.value.id != BASE_KEY:
        return ""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.slice.value if isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str) else ""


def _changed_names(node: ast.AST) -> Iterator[ast.AST]:
    """The parts `x` and `x.y` of a statement that only changes `x.y.z`."""
    inner: ast.AST | None = None
    if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
        inner = node.value
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        method = node.value.func
        inner = method.value if isinstance(method, ast.Attribute) and method.attr in _CHANGING else None
    while inner is not None:
        yield inner
        inner = inner.value if isinstance(inner, (ast.Attribute, ast.Subscript)) else None
