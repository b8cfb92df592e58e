"""Python configs by their text: parsing and compiling them, and telling the head of one from the rest.

To look through the syntax tree of a whole file costs more than to compile it. Most files have their imports at the top
and one `_base_`, which can be found by their text; those are parsed, and the rest is compiled unseen.
"""

from __future__ import annotations

import ast
import re
from types import CodeType
from typing import NamedTuple

from trainwright.base.errors import ConfigError, ConfigSyntaxError
from trainwright.config.reading.document import BASE_KEY
from trainwright.config.reading.syntax import base_assignment, is_read_base

_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
_IMPORT = re.compile(r"\bimport\b|\bread_base\b|__tw_base_")
_IMPORT_AT_MARGIN = re.compile(r"^(?:from|import|with[ \t]+read_base)\b", re.MULTILINE)
_ANY_BASE = re.compile(r"\b_base_[ \t]*=(?!=)")
_BASE_AT_MARGIN = re.compile(r"^_base_[ \t]*=(?!=)", re.MULTILINE)
_INDENTED = re.compile(r"(?:[ \t#][^\n]*\n?|\n)*")


class BaseStatement(NamedTuple):
    """`_base_ = ...`, its line, and the file without it, line by line the same."""

    node: ast.Assign
    line: int
    rest: str


class Header(NamedTuple):
    """The imports at the top of a file, and the file without them, line by line the same."""

    module: ast.Module
    rest: str


def parse_module(text: str, path: str) -> ast.Module:
    """The syntax tree of a config; a ConfigError with its line when it is no Python."""
    try:
        return ast.parse(text, path)
    except _UNPARSABLE as error:
        raise _syntax_error(error, path) from error


def compiled(source: str | ast.Module, path: str) -> CodeType:
    """The code of a config, or of a part of it."""
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except _UNPARSABLE as error:
        raise _syntax_error(error, path) from error


def is_plain(text: str) -> bool:
    """Whether a file certainly has neither imports nor bases."""
    return BASE_KEY not in text and not _has_imports(text)


def has_bases(text: str, path: str) -> bool:
    """Whether a file has `_base_ = ...`."""
    if not _ANY_BASE.search(text):
        return False
    try:
        return base_assignment(parse_module(text, path)) is not None
    except ConfigError:
        return _BASE_AT_MARGIN.search(text) is not None


def split_bases(text: str) -> BaseStatement | None:
    """The only `_base_ = ...` of a file without imports; None where the text alone does not show it."""
    start = _BASE_AT_MARGIN.search(text)
    if _has_imports(text) or _has_long_strings(text) or start is None or len(_ANY_BASE.findall(text)) != 1:
        return None
    end = _end_of_statement(text, start.start())
    body = _body(text[start.start() : end])
    if len(body) != 1 or not isinstance(body[0], ast.Assign) or len(body[0].targets) != 1:
        return None
    line = text.count("\n", 0, start.start()) + 1
    blank = "\n" * text.count("\n", start.start(), end)
    return BaseStatement(body[0], line, text[: start.start()] + blank + text[end:])


def split_header(text: str) -> Header | None:
    """The imports of a file, when all of them come before everything else; None where the text does not show that."""
    found = list(_IMPORT_AT_MARGIN.finditer(text))
    if not found:
        return Header(ast.Module([], []), text) if is_plain(text) else None
    last = found[-1]
    end = _end_of_statement(text, last.start())
    if last[0].startswith("with"):
        block = _INDENTED.match(text, end)
        end = block.end() if block is not None else end
    head, rest = text[:end], text[end:]
    if _IMPORT.search(rest):
        return None
    body = _body(head)
    if not body or not all(_is_import(node) for node in body):
        return None
    return Header(ast.Module(body, []), "\n" * head.count("\n") + rest)


def _is_import(node: ast.stmt) -> bool:
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return is_docstring or isinstance(node, (ast.Import, ast.ImportFrom)) or is_read_base(node)


def _has_imports(text: str) -> bool:
    words = ("import", "read_base", "__tw_base_")  # a search for words costs ten times as much
    return any(word in text for word in words) and _IMPORT.search(text) is not None


def _has_long_strings(text: str) -> bool:
    return '"""' in text or "'''" in text


def _end_of_statement(text: str, start: int) -> int:
    """Where the lines of the statement that begins at `start` end; the end of the text if it has no end."""
    end = start
    for _ in range(100):
        end = text.find("\n", end) + 1 or len(text)
        if end == len(text) or _body(text[start:end]):
            return end
    return len(text)


def _body(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except _UNPARSABLE:
        return []


def _syntax_error(error: Exception, filename: str) -> ConfigError:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    lineno = getattr(error, "lineno", None) or 1
    what = f"not valid Python: {message or type(error).__name__}"
    return ConfigSyntaxError(f"{what}. There are syntax errors in config file {filename!r}.", filename, lineno)
