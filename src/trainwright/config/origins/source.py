"""The shadow of a config file with its bases, made when it is first asked for."""

from __future__ import annotations

import ast
from contextlib import suppress
from typing import Any

from trainwright.config.origins.data import Markers, data_lines
from trainwright.config.origins.lines import (
    Budget,
    DictLines,
    Leaf,
    Lines,
    ListLines,
    Origin,
    OutOfBudget,
    copied,
    merged_items,
    opaque,
)
from trainwright.config.origins.statements import Imported, Statements, named_bases, parse
from trainwright.config.sources import SourceFile

SCOPE_KEY = "_scope_"
_GIVEN_UP = (SyntaxError, ValueError, RecursionError, MemoryError, OutOfBudget)


def source_lines(source: SourceFile) -> DictLines:
    """Where a file and its bases wrote each value; without any value where the file cannot be followed.

    It is kept in `source.index` and must not be changed.
    """
    if isinstance(source.index, DictLines):
        return source.index
    source.index = DictLines(Origin(source.path, None))  # for a file that is its own base
    with suppress(*_GIVEN_UP):
        source.index = _read(source, Budget())
    assert isinstance(source.index, DictLines)
    return source.index


def _read(source: SourceFile, budget: Budget) -> DictLines:
    module = None if source.syntax == "data" else parse(source.code)
    inherited = _merged_bases(source, module, budget)
    if module is None:
        own = data_lines(source.code, source.path, Markers(inherited, source.base_keys))
    else:
        file = Statements(source.path, inherited, source.base_keys, budget)
        file.imported = _imported_bases(source, budget)
        own = file.run_module(module)
    items = merged_items(_kept(own, source), inherited)
    rest = None if source.keys else own.rest  # what it may have set, unless its keys are known
    return DictLines(Origin(source.path, 1), items, True, rest or inherited.rest)


def _kept(own: DictLines, source: SourceFile) -> dict[Any, Lines]:
    """The keys that the evaluation of the file left. One that was not seen here was set in a way of its own."""
    if not source.keys:
        return own.items
    unseen = Origin(source.path, None)
    return {key: own.items.get(key) or own.rest or opaque(unseen) for key in source.keys}


def _imported_bases(source: SourceFile, budget: Budget) -> tuple[Imported, ...]:
    copies: dict[int, DictLines] = {}  # what two imports take from one file is the same object
    result: list[Imported] = []
    for base in source.bases:
        if base.imports is not None:
            if id(base.file) not in copies:
                copies[id(base.file)] = _config_copy(base.file, budget)
            result.append((base.line, copies[id(base.file)], base.imports))
    return tuple(result)


def _config_copy(source: SourceFile, budget: Budget) -> DictLines:
    result = copied(source_lines(source), budget, to_config=True)
    assert isinstance(result, DictLines)
    return result


def _merged_bases(source: SourceFile, module: ast.Module | None, budget: Budget) -> DictLines:
    """What the name `_base_` holds before the file runs."""
    bases = [base for base in source.bases if base.imports is None]
    named = named_bases(module) if module is not None else []
    result = DictLines(Origin(source.path, bases[0].line if bases else 1), is_config=True)
    for i, base in enumerate(bases):
        tree = _config_copy(base.file, budget)
        if len(named) == len(bases) and "::" in named[i][0]:
            _set_scope(tree, Leaf(Origin(source.path, named[i][1].line)))
        result.items.update(tree.items)
        result.rest = result.rest or tree.rest
    return result


def _set_scope(node: Lines, scope: Leaf) -> None:
    """A base of another package gets that package as `_scope_` in the outermost dicts that have a `type`."""
    if isinstance(node, ListLines):
        for item in node.items:
            _set_scope(item, scope)
    elif isinstance(node, DictLines) and "type" in node.items:
        node.items.setdefault(SCOPE_KEY, scope)
    elif isinstance(node, DictLines):
        for item in node.items.values():
            _set_scope(item, scope)
