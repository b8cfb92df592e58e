"""Python config files, text syntax: `_base_ = ...` and plain assignments.

The file is compiled under its own name, so tracebacks show its real lines, and runs in a namespace of its own.
"""

from __future__ import annotations

import ast
from types import CodeType, FunctionType, ModuleType
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.config.config_dict import ConfigDict
from trainwright.config.document import BASE_KEY, base_list, base_lookup
from trainwright.config.substitute import MARKER, Substituted

_LOOKUP = "__tw_base__"
_UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


class PyDocument:
    """A parsed Python config."""

    def __init__(self, source: Substituted, filename: str) -> None:
        self._filename = filename
        self._base_keys = source.base_keys
        try:
            self._module = ast.parse(source.text, filename)
        except _UNPARSABLE as error:
            raise _syntax_error(error, filename) from error
        self._refuse_import_syntax()
        assignments = [node for node in self._module.body if _is_base_assignment(node)]
        self._base_node = assignments[0] if assignments else None

    @property
    def base_line(self) -> int | None:
        return None if self._base_node is None else self._base_node.lineno

    @property
    def bases(self) -> list[str]:
        if self._base_node is None:
            return []
        expression = ast.Expression(self._base_node.value)  # type: ignore[attr-defined]
        try:
            value = eval(compile(expression, self._filename, "eval"), {})
        except Exception as error:
            raise ConfigError(
                f"{BASE_KEY} must not need anything that the file defines. {type(error).__name__}: {error}",
                self._filename,
                self.base_line,
            ) from error
        return base_list(value, self._filename, self.base_line)

    def evaluate(self, base: ConfigDict) -> dict[Any, Any]:
        namespace: dict[Any, Any] = {"__file__": self._filename, "__name__": "__config__", BASE_KEY: base}
        if self._base_keys:
            namespace[_LOOKUP] = base_lookup(base)
        code = self._compile()
        try:
            exec(code, namespace)
        except (Exception, SystemExit) as error:
            message = str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
            raise ConfigError(message, self._filename, _line_of(error, self._filename)) from error
        del namespace[BASE_KEY]
        return {
            key: value
            for key, value in namespace.items()
            if not (isinstance(key, str) and key.startswith("__")) and not isinstance(value, (ModuleType, FunctionType))
        }

    def _compile(self) -> CodeType:
        module = self._module
        if self._base_node is not None:
            module = _DropBase().visit(module)
        if self._base_keys:
            module = ast.fix_missing_locations(_FillMarkers(self._base_keys).visit(module))
        try:
            return compile(module, self._filename, "exec")
        except _UNPARSABLE as error:
            raise _syntax_error(error, self._filename) from error

    def _refuse_import_syntax(self) -> None:
        for node in self._module.body:
            if isinstance(node, ast.With) and any(_is_read_base(item.context_expr) for item in node.items):
                raise ConfigError(
                    "`with read_base():` is the import syntax, which this version does not read. Name the bases by "
                    f"{BASE_KEY} = ['./base.py'] instead.",
                    self._filename,
                    node.lineno,
                )


class _DropBase(ast.NodeTransformer):
    """Removes `_base_ = ...`, so that the name keeps holding the merged bases."""

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return ast.copy_location(ast.Pass(), node) if _is_base_assignment(node) else node


class _FillMarkers(ast.NodeTransformer):
    """Turns each marker into a look-up in the base: a bare one into its value, one within a string into its text."""

    def __init__(self, base_keys: list[str]) -> None:
        self._base_keys = base_keys

    def visit_Name(self, node: ast.Name) -> ast.AST:
        match = MARKER.fullmatch(node.id)
        return ast.copy_location(self._look_up(match[1]), node) if match else node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and MARKER.search(node.value):
            return ast.copy_location(ast.JoinedStr(self._pieces(node.value)), node)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        values: list[ast.expr] = []
        for value in node.values:
            filled = self.visit(value)
            values += filled.values if isinstance(filled, ast.JoinedStr) else [filled]
        node.values = values
        return node

    def _pieces(self, text: str) -> list[ast.expr]:
        parts = MARKER.split(text)  # text, index, text, index, ..., text
        pieces: list[ast.expr] = []
        for i, part in enumerate(parts):
            if i % 2:
                pieces.append(ast.FormattedValue(self._look_up(part), -1))
            elif part:
                pieces.append(ast.Constant(part))
        return pieces

    def _look_up(self, index: str) -> ast.Call:
        return ast.Call(ast.Name(_LOOKUP, ast.Load()), [ast.Constant(self._base_keys[int(index)])], [])


def _is_base_assignment(node: ast.AST) -> bool:
    if not isinstance(node, ast.Assign):
        return False
    target = node.targets[0]
    return isinstance(target, ast.Name) and target.id == BASE_KEY


def _is_read_base(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name == "read_base"


def _line_of(error: BaseException, filename: str) -> int | None:
    lineno, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == filename:
            lineno = step.tb_lineno
        step = step.tb_next
    return lineno


def _syntax_error(error: Exception, filename: str) -> ConfigError:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return ConfigError(f"not valid Python: {message or type(error).__name__}", filename, getattr(error, "lineno", None))
