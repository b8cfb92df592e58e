"""The text of a config with a comment behind each line that says what set it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Path = tuple[Any, ...]
OriginOf = Callable[[Path], str]
_INDENT = 4
_MAX_COLUMN = 64  # comments begin at this column at most; a longer line has its comment right behind it


class Line(NamedTuple):
    """A line of code, and what its comment says; "" for none."""

    code: str
    comment: str = ""


class _Child(NamedTuple):
    """An item of a container: its label (`name=`, `'key': ` or nothing), its path and its expression."""

    label: str
    path: Path
    node: ast.expr


def annotate(text: str, origin_of: OriginOf) -> list[Line]:
    """The lines of a config text, as ``Config.pretty_text`` has it, each with the origin of the values in it.

    A dict or list stays on one line if it is there already and one origin holds for all of it; otherwise each of its
    items has a line. The text still reads back as the same config.
    """
    return list(_Annotator(text, origin_of).lines())


def aligned(lines: list[Line]) -> str:
    """The lines as text, their comments below each other."""
    widths = [len(line.code) for line in lines if line.comment]
    column = min(max(widths, default=0), _MAX_COLUMN)
    return "".join(
        f"{line.code.ljust(column)}  # {line.comment}\n" if line.comment else f"{line.code}\n" for line in lines
    )


class _Annotator:
    def __init__(self, text: str, origin_of: OriginOf) -> None:
        self._text = text
        self._rows = [row.encode() for row in text.split("\n")]  # ast counts columns in bytes
        self._origin_of = origin_of

    def lines(self) -> Iterator[Line]:
        done = 0
        for statement in ast.parse(self._text).body:
            yield from self._verbatim(done, statement.lineno - 1)
            done = statement.end_lineno or statement.lineno
            settings = _settings(statement)
            if settings is None:
                yield from self._verbatim(statement.lineno - 1, done)
            elif isinstance(settings, ast.Dict):
                yield from self._expand("globals().update(", settings, ")", 0, ())
            else:
                name, value = settings
                yield from self._emit(f"{name} = ", value, "", 0, (name,))
        yield from self._verbatim(done, len(self._rows) - 1)

    def _verbatim(self, start: int, stop: int) -> Iterator[Line]:
        yield from (Line(row.decode()) for row in self._rows[start:stop])

    def _emit(self, head: str, node: ast.expr, tail: str, indent: int, path: Path) -> Iterator[Line]:
        source = self._source(node)
        origins = {self._origin_of(leaf) for leaf in self._leaves(node, path)}
        if len(origins) == 1 and "\n" not in source:
            yield Line(" " * indent + head + source + tail, origins.pop())
        elif self._children(node, path):
            yield from self._expand(head, node, tail, indent, path)
        else:
            first, *rest = (" " * indent + head + source + tail).split("\n")
            yield Line(first, ", ".join(sorted(origins)))
            yield from map(Line, rest)

    def _expand(self, head: str, node: ast.expr, tail: str, indent: int, path: Path) -> Iterator[Line]:
        opening, closing = _brackets(node)
        yield Line(" " * indent + head + opening)
        for child in self._children(node, path):
            yield from self._emit(child.label, child.node, ",", indent + _INDENT, child.path)
        yield Line(" " * indent + closing + tail)

    def _leaves(self, node: ast.expr, path: Path) -> Iterator[Path]:
        children = self._children(node, path)
        if not children:
            yield path
        for child in children:
            yield from self._leaves(child.node, child.path)

    def _children(self, node: ast.expr, path: Path) -> list[_Child]:
        """The items of a dict, list or tuple; none for anything else."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
            return [_Child(f"{word.arg}=", (*path, word.arg), word.value) for word in node.keywords if word.arg]
        if isinstance(node, ast.Dict):
            pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]
            return [_Child(f"{self._source(key)}: ", (*path, _literal(key)), value) for key, value in pairs]
        if isinstance(node, (ast.List, ast.Tuple)):
            return [_Child("", (*path, i), item) for i, item in enumerate(node.elts)]
        return []

    def _source(self, node: ast.expr) -> str:
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        if first == last:
            return self._rows[first][node.col_offset : node.end_col_offset].decode()
        rows = [self._rows[first][node.col_offset :], *self._rows[first + 1 : last]]
        return b"\n".join([*rows, self._rows[last][: node.end_col_offset]]).decode()


def _settings(statement: ast.stmt) -> tuple[str, ast.expr] | ast.Dict | None:
    """Name and value of an assignment; the dict of `globals().update({...})`; None for other statements."""
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id, statement.value
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        args = statement.value.args
        if len(args) == 1 and isinstance(args[0], ast.Dict):
            return args[0]
    return None


def _brackets(node: ast.expr) -> tuple[str, str]:
    if isinstance(node, ast.Call):
        return "dict(", ")"
    return {ast.Dict: ("{", "}"), ast.List: ("[", "]")}.get(type(node), ("(", ")"))


def _literal(key: ast.expr) -> Any:
    try:
        return ast.literal_eval(key)
    except ValueError:  # a key that is no literal, such as float("nan")
        return ast.unparse(key)
