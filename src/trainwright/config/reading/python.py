"""Python config files: which of the two syntaxes one has, its bases, and running it.

A file is compiled under its own name, so tracebacks show its real lines, and runs in a namespace of its own.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from functools import lru_cache
from types import CodeType, FunctionType, ModuleType
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject, lazily
from trainwright.config.config_dict import CONFIG_MODULE
from trainwright.config.reading.document import BASE_KEY, BaseRequest, Evaluated, Inherited, base_list, base_lookup
from trainwright.config.reading.split import compiled, is_plain, parse_module, split_bases, split_header
from trainwright.config.reading.syntax import (
    LATE,
    LAZY,
    LOOKUP,
    OURS,
    READ_BASE,
    FillMarkers,
    ImportPlan,
    base_assignment,
    changes_base,
    drop_bases,
    has_import_syntax,
    is_base_assignment,
    plan_imports,
    plan_text_imports,
    statements,
)
from trainwright.config.sources import Syntax

# No settings: MMEngine drops modules and functions; the environment of the process has no business in a config.
_DROPPED = (ModuleType, FunctionType, type(os.environ))


class PyDocument:
    """A parsed and compiled Python config. It is shared by all who read the same file, and does not change."""

    def __init__(self, code: CodeType, filename: str, syntax: Syntax, requests: list[BaseRequest]) -> None:
        self.code = code
        self.prelude: CodeType | None = None  # the imports, where they are not part of `code`
        self.filename = filename
        self.syntax: Syntax = syntax
        self.requests = requests
        self.base_keys: list[str] = []
        self.plan = ImportPlan()

    def evaluate(self, inherited: Inherited) -> Evaluated:
        namespace = self._namespace(inherited)
        bound: dict[str, Any] = {}
        with lazily():
            if self.prelude is not None:
                self._run(self.prelude, namespace)
                bound = {name: namespace[name] for name in self.plan.run_names}
            self._run(self.code, namespace)
        if self.syntax == "import":
            changed = {name for name, value in bound.items() if namespace.get(name) is not value}
            return self._import_result(namespace, inherited, self.plan.run_names - changed)
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

    def _run(self, code: CodeType, namespace: dict[Any, Any]) -> None:
        try:
            exec(code, namespace)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            is_ours = isinstance(error, ConfigError)
            message = str(error) if is_ours else f"{type(error).__name__}: {_text(error)}"
            kind = type(error) if is_ours else ConfigError
            raise kind(message, self.filename, _line_of(error, self.filename) or 1) from error

    def _import_result(self, namespace: dict[Any, Any], inherited: Inherited, run_names: set[str]) -> Evaluated:
        """The settings, with imported names and the file's own functions among them, as MMEngine has it."""
        tree: dict[Any, Any] = {}
        helpers: dict[str, Any] = {}
        for key, value in namespace.items():
            if _is_dunder(key):
                continue
            is_inherited = key in inherited.helpers and inherited.helpers[key] is value
            (helpers if key in run_names or is_inherited else tree)[key] = value
        return Evaluated(tree, self._still_lazy(self.plan.lazy_names | inherited.hidden, tree), helpers)

    def _still_lazy(self, names: set[str], tree: dict[Any, Any]) -> frozenset[str]:
        return frozenset(name for name in names if isinstance(tree.get(name), LazyObject))


def parse_python(text: str, path: str, lazy_import: bool | None) -> PyDocument:
    """Parse a Python config. `lazy_import` True or False says which syntax it has, None that the file shows it."""
    return _parse_quickly(text, path, lazy_import) or _parse_tree(text, path, lazy_import)


@lru_cache(maxsize=128)
def _parse_quickly(text: str, path: str, lazy_import: bool | None) -> PyDocument | None:
    """The document of a file whose imports and `_base_` can be told from the rest by its text; else None.

    The rest is compiled as it stands, three times as fast as from a tree that was looked through.
    """
    if lazy_import is not True and is_plain(text):
        return PyDocument(compiled(text, path), path, "text", [])
    if BASE_KEY in text:
        found = None if lazy_import is True else split_bases(text)
        if found is None:
            return None
        requests = _requested(found.node.value, path, found.line)
        return PyDocument(compiled(found.rest, path), path, "text", requests)
    header = None if lazy_import is False else split_header(text)
    if header is None or (lazy_import is None and not has_import_syntax(header.module)):
        return None
    plan = plan_imports(header.module, path)
    document = PyDocument(compiled(header.rest, path), path, "import", plan.requests)
    document.plan = plan
    document.prelude = compiled(header.module, path)
    return document


@lru_cache(maxsize=128)
def _parse_tree(text: str, path: str, lazy_import: bool | None) -> PyDocument:
    module = parse_module(text, path)
    bases = base_assignment(module)
    is_import = lazy_import if lazy_import is not None else bases is None and has_import_syntax(module)
    if not is_import:
        requests = [] if bases is None else _requested(bases.value, path, bases.lineno)
        _refuse_other_bases(module, path)
        plan = ImportPlan() if lazy_import is False else plan_text_imports(module, path)
        drop_bases(module)
        return _document(module, path, "text", requests, plan)
    if bases is not None:
        message = f"lazy_import=True reads the import syntax, in which {BASE_KEY} has no meaning"
        raise ConfigError(message, path, bases.lineno)
    plan = plan_imports(module, path)
    return _document(module, path, "import", plan.requests, plan)


def _refuse_other_bases(module: ast.Module, path: str) -> None:
    """A `_base_` that is not assigned at the margin would be passed over."""
    for node in statements(module):
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        named = any(isinstance(target, ast.Name) and target.id == BASE_KEY for target in targets)
        if named and not (node in module.body and is_base_assignment(node)):
            raise ConfigError(
                f"{BASE_KEY} is read before the file runs, and stands for what was inherited while it does: assign it "
                f"once, at the left margin, as in {BASE_KEY} = ['./base.py']",
                path,
                node.lineno,
            )


def parse_marked(text: str, path: str, base_keys: list[str], lazy_import: bool | None) -> PyDocument:
    """As `parse_python`, for a text-syntax file in which `{{ _base_.key }}` became markers."""
    module = parse_module(text, path)
    bases = base_assignment(module)
    requests = [] if bases is None else _requested(bases.value, path, bases.lineno)
    plan = ImportPlan() if lazy_import is False else plan_text_imports(module, path)
    drop_bases(module)
    module = FillMarkers(base_keys, changes_base(module)).visit(module)
    ast.fix_missing_locations(module)
    document = _document(module, path, "text", requests, plan)
    document.base_keys = base_keys
    return document


def _document(
    module: ast.Module, path: str, syntax: Syntax, requests: list[BaseRequest], plan: ImportPlan
) -> PyDocument:
    document = PyDocument(compiled(module, path), path, syntax, requests)
    document.plan = plan
    return document


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
