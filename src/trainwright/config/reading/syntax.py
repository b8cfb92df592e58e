"""The two Python syntaxes on the syntax tree: telling them apart, and rewriting what must not run as it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject
from trainwright.config.reading.document import BASE_KEY, STAR, BaseRequest
from trainwright.config.reading.standard import is_ours, is_ours_in_text, is_standard
from trainwright.config.reading.substitute import MARKER

LOOKUP = "__tw_base__"
LAZY = "__tw_lazy__"
OURS = "__tw_ours__"
READ_BASE = "__tw_read_base__"
LATE = "__tw_late__"
_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")  # fields that hold statements, or what holds some


class ImportPlan:
    """What became of a file's imports.

    Attributes:
        lazies: What the calls `__tw_lazy__(i)` in the rewritten file give.
        lazy_names: Names bound to those.
        run_names: Names bound by imports that run at once, and by nothing else.
        requests: Bases, from `with read_base():`.
        first_block: The block at the top level whose names are there before the file runs.
        blocks: Number of blocks.
    """

    def __init__(self) -> None:
        self.lazies: list[LazyObject] = []
        self.lazy_names: set[str] = set()
        self.run_names: set[str] = set()
        self.uses_ours = False
        self.requests: list[BaseRequest] = []
        self.first_block: int | None = None
        self.blocks = 0


def is_base_assignment(node: ast.AST) -> bool:
    """Whether `node` is `_base_ = ...`."""
    if not isinstance(node, ast.Assign):
        return False
    target = node.targets[0]
    return isinstance(target, ast.Name) and target.id == BASE_KEY


def base_assignment(module: ast.Module) -> ast.Assign | None:
    """The statement `_base_ = ...` of a file."""
    return next((node for node in module.body if isinstance(node, ast.Assign) and is_base_assignment(node)), None)


def is_read_base(node: ast.AST) -> bool:
    """Whether `node` is `with read_base():`."""
    if not isinstance(node, ast.With):
        return False
    call = node.items[0].context_expr
    if not isinstance(call, ast.Call) or call.args or call.keywords or len(node.items) > 1:
        return False
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "read_base"


def block_requests(body: list[ast.stmt], path: str, block: int) -> Iterator[BaseRequest]:
    """The bases that the statements of a `with read_base():` name."""
    for statement in body:
        if not isinstance(statement, ast.ImportFrom) or statement.module is None:
            raise ConfigError(
                "within `with read_base():` only `from .file import name` or `from .file import *` can stand",
                path,
                statement.lineno,
            )
        names = tuple((alias.name, alias.asname or alias.name) for alias in statement.names)
        yield BaseRequest("." * statement.level + statement.module, statement.lineno, names, block)


def has_import_syntax(module: ast.Module) -> bool:
    """Whether a file without `_base_` has the import syntax: it imports a library, or has `with read_base():`."""
    return any(is_read_base(node) or _imports_library(node) for node in statements(module))


def statements(node: Any) -> Iterator[ast.stmt]:
    """The statements of a file, those within others too. Expressions, of which there are many more, hold none."""
    for field in _BLOCKS:
        for part in getattr(node, field, ()):
            if isinstance(part, ast.stmt):
                yield part
            yield from statements(part)


def _imports_library(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return not all(is_standard(alias.name) for alias in node.names)
    if not isinstance(node, ast.ImportFrom):
        return False
    if node.level:
        return True
    names = [alias.name for alias in node.names]
    if any(name == "read_base" and is_ours_in_text(node.module, name) for name in names):
        return not (node.module or "").startswith("mmengine.config")  # no library to MMEngine; ours marks the syntax
    return not is_standard(node.module or "") and not all(is_ours_in_text(node.module, name) for name in names)


# -- the import syntax -------------------------------------------------------------------------------------------------
def plan_imports(module: ast.Module, path: str) -> ImportPlan:
    """Rewrite a file in the import syntax, in place.

    `with read_base():` becomes a request for its bases; an import of a library the assignment of a LazyObject; an
    import of the standard library stays.
    """
    plan = ImportPlan()
    stored = {name for statement in statements(module) for name in _stored(statement)}
    rewriter = _ImportRewriter(plan, path, _top_packages(module))
    module.body = [statement for node in module.body for statement in rewriter.top(node)]
    plan.run_names -= stored
    return plan


def _stored(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, other than by an import."""
    targets = getattr(statement, "targets", [getattr(statement, "target", None)])
    for target in targets:
        for node in ast.walk(target) if isinstance(target, ast.AST) else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _top_packages(module: ast.Module) -> dict[str, list[str]]:
    """For each package that `import a.b` binds at the top level, all that is imported from it that way."""
    packages: dict[str, list[str]] = {}
    for node in module.body:
        for alias in node.names if isinstance(node, ast.Import) else ():
            if alias.asname is None and not is_standard(alias.name):
                packages.setdefault(alias.name.partition(".")[0], []).append(alias.name)
    return packages


class _Binder(ast.NodeTransformer):
    """Rewrites imports, and notes in a plan what became of them."""

    def __init__(self, plan: ImportPlan, path: str) -> None:
        self._plan = plan
        self._path = path

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Go on to the statements within `node`, and not to its expressions."""
        for field in _BLOCKS:
            parts = getattr(node, field, None)
            if isinstance(parts, list):
                visited = [self.visit(part) for part in parts]
                parts[:] = [item for part in visited for item in (part if isinstance(part, list) else [part])]
        return node

    def _bind(self, name: str, lazy: LazyObject, node: ast.stmt) -> ast.stmt:
        self._plan.lazies.append(lazy)
        self._plan.lazy_names.add(name)
        return _assign(name, LAZY, len(self._plan.lazies) - 1, node)

    def _location(self, node: ast.stmt) -> str:
        return f"{self._path}, line {node.lineno}"


class _ImportRewriter(_Binder):
    def __init__(self, plan: ImportPlan, path: str, packages: dict[str, list[str]]) -> None:
        super().__init__(plan, path)
        self._packages = packages
        self._trying = 0

    def top(self, node: ast.stmt) -> list[ast.stmt]:
        """A statement of the file's top level. The first block of bases is there before the file runs."""
        if is_read_base(node) and self._plan.blocks == 0:
            self._plan.first_block = 0
            self._request(node)
            return []
        result = self.visit(node)
        return result if isinstance(result, list) else [] if result is None else [result]

    def visit_With(self, node: ast.With) -> Any:
        if not is_read_base(node):
            return self.generic_visit(node)
        block = self._request(node)
        call = ast.Call(ast.Name(READ_BASE, ast.Load()), [ast.Constant(block)], [])
        return _placed(ast.Expr(call), node)

    def _request(self, node: Any) -> int:
        block = self._plan.blocks
        self._plan.blocks += 1
        body = [statement for statement in node.body if not isinstance(statement, ast.Pass)]
        self._plan.requests += block_requests(body, self._path, block)
        return block

    def visit_Try(self, node: ast.Try) -> Any:
        self._trying += 1
        self.generic_visit(node)
        self._trying -= 1
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.level == 0 and node.module == "__future__":
            return node
        kept: list[ast.alias] = []
        bound: list[ast.stmt] = []
        for alias in node.names:
            name = alias.asname or alias.name
            if alias.name == STAR:
                raise ConfigError(
                    f"`from {'.' * node.level}{node.module or ''} import *` cannot be read outside of "
                    "`with read_base():`, because what it binds is not known without importing it. Import the names "
                    "that are used.",
                    self._path,
                    node.lineno,
                )
            if node.level == 0 and is_ours(node.module, alias.name):
                self._plan.uses_ours = True
                self._plan.run_names.add(name)
                bound.append(_assign(name, OURS, alias.name, node))
            elif node.level == 0 and is_standard(node.module or ""):
                self._plan.run_names.add(name)
                kept.append(alias)
            else:
                module = "." * node.level + (node.module or "")
                bound.append(self._bind(name, LazyObject(module, alias.name, self._location(node)), node))
        if kept:
            bound.append(_placed(ast.ImportFrom(node.module, kept, 0), node))
        return bound

    def visit_Import(self, node: ast.Import) -> Any:
        kept: list[ast.alias] = []
        bound: list[ast.stmt] = []
        for alias in node.names:
            top = alias.name.partition(".")[0]
            if is_standard(alias.name):
                self._plan.run_names.add(alias.asname or top)
                kept.append(alias)
            elif alias.asname is not None:
                bound.append(self._bind(alias.asname, LazyObject(alias.name, None, self._location(node)), node))
            elif self._trying and not _is_installed(top):
                kept.append(alias)  # it fails, and the `try` around it is there to see that
            else:
                modules = self._packages.get(top, [alias.name])
                bound.append(self._bind(top, LazyObject(modules, None, self._location(node)), node))
        if kept:
            bound.append(_placed(ast.Import(kept), node))
        return bound


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _assign(name: str, function: str, argument: Any, node: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name(function, ast.Load()), [ast.Constant(argument)], [])
    return _placed(ast.Assign([ast.Name(name, ast.Store())], call), node)


def _placed(new: ast.stmt, old: ast.stmt) -> ast.stmt:
    """`new` with all its parts where `old` stands."""
    for part in ast.walk(new):
        if isinstance(part, (ast.stmt, ast.expr, ast.alias)):
            ast.copy_location(part, old)
    return new


# -- the text syntax ---------------------------------------------------------------------------------------------------
def plan_text_imports(module: ast.Module, path: str) -> ImportPlan:
    """Rewrite the imports of a file in the text syntax, in place: those of libraries are only noted, here too."""
    plan = ImportPlan()
    if any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in statements(module)):
        _TextImportRewriter(plan, path, _top_packages(module)).visit(module)
    return plan


class _TextImportRewriter(_ImportRewriter):
    """As for the import syntax, but `with` and `*` are Python's, and Config and its like are found in more places."""

    def visit_With(self, node: ast.With) -> Any:
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return node  # its imports run when it is called, for it needs what they give

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if any(alias.name == STAR for alias in node.names):
            return node
        if self._trying and node.level == 0 and not _is_installed((node.module or "").partition(".")[0]):
            return node
        if node.level == 0 and all(is_ours_in_text(node.module, alias.name) for alias in node.names):
            self._plan.uses_ours = True
            return [_assign(alias.asname or alias.name, OURS, alias.name, node) for alias in node.names]
        return super().visit_ImportFrom(node)


def changes_base(module: ast.Module) -> bool:
    """Whether a file changes a value of `_base_`, so that it matters when a `{{ _base_.key }}` is looked up."""
    for node in ast.walk(module):
        if isinstance(node, (ast.Attribute, ast.Subscript)):
            if not isinstance(node.ctx, ast.Load) and _root(node) == BASE_KEY:
                return True
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _root(node.func) == BASE_KEY:
            return True
    return False


def _root(node: ast.expr) -> str | None:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def drop_bases(module: ast.Module) -> None:
    """Take out `_base_ = ...`, so that the name keeps holding the merged bases."""
    for node in [module, *statements(module)]:
        for field in _BLOCKS:
            block = getattr(node, field, None) or []
            block[:] = [_placed(ast.Pass(), part) if is_base_assignment(part) else part for part in block]


class FillMarkers(ast.NodeTransformer):
    """Turns each marker into a look-up in the base: a bare one into its value, one within a string into its text.

    With `late` a bare one becomes a Late, which the value at the end of the file replaces, as in MMEngine.
    """

    def __init__(self, base_keys: list[str], late: bool) -> None:
        self._base_keys = base_keys
        self._late = late

    def visit_Name(self, node: ast.Name) -> ast.AST:
        match = MARKER.fullmatch(node.id)
        if match is None:
            return node
        call = self._look_up(match[1])
        if self._late:
            call.func = ast.Name(LATE, ast.Load())
        return ast.copy_location(call, node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str) and MARKER.search(node.value):
            return ast.copy_location(ast.JoinedStr(list(self._pieces(node.value))), node)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        values: list[ast.expr] = []
        for value in node.values:
            filled = self.visit(value)
            values += filled.values if isinstance(filled, ast.JoinedStr) else [filled]
        node.values = values
        return node

    def _pieces(self, text: str) -> Iterator[ast.expr]:
        for i, part in enumerate(MARKER.split(text)):  # text, index, text, index, ..., text
            if i % 2:
                yield ast.FormattedValue(self._look_up(part), -1)
            elif part:
                yield ast.Constant(part)

    def _look_up(self, index: str) -> ast.Call:
        return ast.Call(ast.Name(LOOKUP, ast.Load()), [ast.Constant(self._base_keys[int(index)])], [])
