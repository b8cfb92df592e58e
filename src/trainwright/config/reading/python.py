"""Python config files: which of the two syntaxes one has, its bases, and running it.

A file is compiled under its own name, so tracebacks show its real lines, and runs in a namespace of its own.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject, lazily
from trainwright.config.config_dict import CONFIG_MODULE
from trainwright.config.reading.document import BASE_KEY, BaseRequest, Evaluated, Inherited, base_list, base_lookup
from trainwright.config.reading.syntax import (
    LATE,
    LAZY,
    LOOKUP,
    OURS,
    READ_BASE,
    DropBase,
    FillMarkers,
    ImportPlan,
    base_assignment,
    changes_base,
    has_import_syntax,
    plan_imports,
    plan_text_imports,
)
from trainwright.config.sources import Syntax

_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
# A file without any of these is compiled from its text, three times as fast as from a tree that was looked through.
_NEED_TREE = ("import", "read_base", '"""', "'''", "__tw_base_")
_IMPORT = re.compile(r"\bimport\b")
_ANY_BASE = re.compile(r"\b_base_[ \t]*=(?!=)")
_BASE_AT_MARGIN = re.compile(r"^_base_[ \t]*=(?!=)", re.MULTILINE)


# No settings: MMEngine drops modules and functions; the environment of the process has no business in a config.
_DROPPED = (ModuleType, FunctionType, type(os.environ))


class PyDocument:
    """A parsed and compiled Python config. It is shared by all who read the same file, and does not change."""

    def __init__(self, code: CodeType, filename: str, syntax: Syntax, requests: list[BaseRequest]) -> None:
        self.code = code
        self.filename = filename
        self.syntax: Syntax = syntax
        self.requests = requests
        self.base_keys: list[str] = []
        self.plan = ImportPlan()

    def evaluate(self, inherited: Inherited) -> Evaluated:
        namespace = self._namespace(inherited)
        with lazily():
            self._run(namespace)
        if self.syntax == "import":
            return self._import_result(namespace, inherited)
        del namespace[BASE_KEY]
        tree = {
            key: value for key, value in namespace.items() if not _is_dunder(key) and not isinstance(value, _DROPPED)
        }
        if self.base_keys:
            tree = _resolved(tree, base_lookup(inherited.tree))
        return Evaluated(tree, self._still_lazy(self.plan.lazy_names, tree))

    def _namespace(self, inherited: Inherited) -> dict[Any, Any]:
        namespace: dict[Any, Any] = {"__file__": inherited.shown, "__name__": CONFIG_MODULE}
        if self.syntax == "text":
            namespace[BASE_KEY] = inherited.tree
            if self.base_keys:
                namespace[LOOKUP] = base_lookup(inherited.tree)
                namespace[LATE] = Late
        plan = self.plan
        if plan.lazies or plan.uses_ours or plan.blocks:
            from trainwright.config.reading.standard import ours

            namespace[LAZY] = plan.lazies.__getitem__
            namespace[OURS] = ours
            namespace[READ_BASE] = lambda block: namespace.update(inherited.blocks[block])
        if plan.first_block is not None:
            namespace.update(inherited.blocks[plan.first_block])
        return namespace

    def _run(self, namespace: dict[Any, Any]) -> None:
        try:
            exec(self.code, namespace)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            message = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {_text(error)}"
            raise ConfigError(message, self.filename, _line_of(error, self.filename) or 1) from error

    def _import_result(self, namespace: dict[Any, Any], inherited: Inherited) -> Evaluated:
        """The settings, with imported names and the file's own functions among them, as MMEngine has it."""
        tree: dict[Any, Any] = {}
        helpers: dict[str, Any] = {}
        for key, value in namespace.items():
            if _is_dunder(key):
                continue
            is_inherited = key in inherited.helpers and inherited.helpers[key] is value
            is_helper = key in self.plan.run_names or is_inherited
            (helpers if is_helper else tree)[key] = value
        return Evaluated(tree, self._still_lazy(self.plan.lazy_names | inherited.hidden, tree), helpers)

    def _still_lazy(self, names: set[str], tree: dict[Any, Any]) -> frozenset[str]:
        return frozenset(name for name in names if isinstance(tree.get(name), LazyObject))


def parse_python(text: str, path: str, lazy_import: bool | None) -> PyDocument:
    """Parse a Python config. `lazy_import` True or False says which syntax it has, None that the file shows it."""
    if lazy_import is not True and not _needs_tree(text):
        document = _parse_quickly(text, path)
        if document is not None:
            return document
    return _parse_tree(text, path, lazy_import)


def _needs_tree(text: str) -> bool:
    found = [word for word in _NEED_TREE if word in text]
    return bool(found) and (found != ["import"] or _IMPORT.search(text) is not None)


@lru_cache(maxsize=128)
def _parse_quickly(text: str, path: str) -> PyDocument | None:
    """The document of a text-syntax file without imports; None when its text does not show that it is one."""
    requests: list[BaseRequest] = []
    matches = _ANY_BASE.findall(text) if BASE_KEY in text else []
    if matches:
        start = _BASE_AT_MARGIN.search(text)
        statement = _statement_at(text, start.start()) if start is not None and len(matches) == 1 else None
        if statement is None or start is None:
            return None
        node, length = statement
        line = text.count("\n", 0, start.start()) + 1
        requests = _requested(node.value, path, line)
        blank = "\n" * text.count("\n", start.start(), start.start() + length)
        text = text[: start.start()] + blank + text[start.start() + length :]
    return PyDocument(_compiled(text, path), path, "text", requests)


def _statement_at(text: str, start: int) -> tuple[ast.Assign, int] | None:
    """The assignment that begins at `start`, and how long its text is."""
    end = start
    for _ in range(100):
        end = text.find("\n", end) + 1 or len(text)
        try:
            body = ast.parse(text[start:end]).body
        except _UNPARSABLE:
            if end == len(text):
                return None
            continue
        only = body[0] if len(body) == 1 else None
        return (only, end - start) if isinstance(only, ast.Assign) and len(only.targets) == 1 else None
    return None


@lru_cache(maxsize=128)
def _parse_tree(text: str, path: str, lazy_import: bool | None) -> PyDocument:
    module = parse_module(text, path)
    bases = base_assignment(module)
    is_import = lazy_import if lazy_import is not None else bases is None and has_import_syntax(module)
    if not is_import:
        requests = [] if bases is None else _requested(bases.value, path, bases.lineno)
        plan = ImportPlan() if lazy_import is False else plan_text_imports(module, path)
        module = DropBase().visit(module)
        return _document(module, path, "text", requests, plan)
    if bases is not None:
        message = f"lazy_import=True reads the import syntax, in which {BASE_KEY} has no meaning"
        raise ConfigError(message, path, bases.lineno)
    plan = plan_imports(module, path)
    return _document(module, path, "import", plan.requests, plan)


def parse_marked(text: str, path: str, base_keys: list[str], lazy_import: bool | None) -> PyDocument:
    """As `parse_python`, for a text-syntax file in which `{{ _base_.key }}` became markers."""
    module = parse_module(text, path)
    bases = base_assignment(module)
    requests = [] if bases is None else _requested(bases.value, path, bases.lineno)
    plan = ImportPlan() if lazy_import is False else plan_text_imports(module, path)
    module = FillMarkers(base_keys, changes_base(module)).visit(DropBase().visit(module))
    document = _document(module, path, "text", requests, plan)
    document.base_keys = base_keys
    return document


def _document(
    module: ast.Module, path: str, syntax: Syntax, requests: list[BaseRequest], plan: ImportPlan
) -> PyDocument:
    document = PyDocument(_compiled(ast.fix_missing_locations(module), path), path, syntax, requests)
    document.plan = plan
    return document


def has_bases(text: str, path: str) -> bool:
    """Whether a file has `_base_ = ...`, by its text where that shows it."""
    if not _ANY_BASE.search(text):
        return False
    try:
        return base_assignment(parse_module(text, path)) is not None
    except ConfigError:
        return _BASE_AT_MARGIN.search(text) is not None


def parse_module(text: str, path: str) -> ast.Module:
    try:
        return ast.parse(text, path)
    except _UNPARSABLE as error:
        raise _syntax_error(error, path) from error


def _compiled(source: str | ast.Module, path: str) -> CodeType:
    try:
        return compile(source, path, "exec", dont_inherit=True)
    except _UNPARSABLE as error:
        raise _syntax_error(error, path) from error


def _requested(node: ast.expr, path: str, line: int) -> list[BaseRequest]:
    """The bases that `_base_ = <node>` names. It is evaluated before the file is, so it can use nothing of the file."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        try:
            value = eval(compile(ast.Expression(node), path, "eval", dont_inherit=True), {"__file__": path})
        except Exception as error:
            raise ConfigError(
                f"{BASE_KEY} must not need anything that the file defines. {type(error).__name__}: {error}", path, line
            ) from error
    return [BaseRequest(name, line) for name in base_list(value, path, line)]


class Late:
    """Stands for a value of the base until the file has run."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key


def _resolved(value: Any, lookup: Callable[[str], Any]) -> Any:
    if isinstance(value, Late):
        return lookup(value.key)
    if type(value) is dict:
        return {key: _resolved(item, lookup) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)([_resolved(item, lookup) for item in value])
    return value


def _is_dunder(key: Any) -> bool:
    return isinstance(key, str) and key.startswith("__")


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - an exception of the config's own, whose text fails as well
        return "its text cannot be shown"


def _line_of(error: BaseException, filename: str) -> int | None:
    lineno, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == filename:
            lineno = step.tb_lineno
        step = step.tb_next
    return lineno


def _syntax_error(error: Exception, filename: str) -> ConfigError:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    lineno = getattr(error, "lineno", None) or 1
    return ConfigError(f"not valid Python: {message or type(error).__name__}", filename, lineno)
