"""The shadow of a Python config: its statements are followed in order, with the bases where they come in."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable
from typing import Any, Literal

from trainwright.config.origins.expressions import Expressions
from trainwright.config.origins.lines import (
    CODE,
    Budget,
    DictLines,
    Leaf,
    Lines,
    ListLines,
    Origin,
    constant_of,
    extend,
    lists_below,
    members,
    opaque,
    put,
    truth,
    update,
)
from trainwright.config.reading.document import BASE_KEY, STAR
from trainwright.config.reading.syntax import is_base_assignment, is_read_base

_MAX_WHILE = 1_000

Flow = Literal["next", "continue", "break"]
# A base in import syntax: the line that names it, its keys, and pairs of a name in it (or "*") and the name it gets.
Imported = tuple[int, DictLines, tuple[tuple[str, str], ...]]


def parse(code: str) -> ast.Module:
    """The syntax tree, without the warnings about what it holds: whoever read the config has seen them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(code)


class Statements(Expressions):
    """Statements of one file. Where it cannot be told which way it goes, all ways are followed, one after the other,
    so that the last line that may have set a value counts.
    """

    imported: tuple[Imported, ...] = ()

    def run_module(self, module: ast.Module) -> DictLines:
        """The names that a file leaves."""
        first = next((node for node in module.body if is_read_base(node)), None)
        if first is not None:  # its names are there before the file runs
            self._read_bases(first)
        self.run(node for node in module.body if node is not first)
        self.names.items.pop(BASE_KEY, None)
        return self.names

    def run(self, body: Iterable[ast.stmt]) -> Flow:
        """Follow statements up to a `break` or `continue`."""
        for node in body:
            self.budget.spend()
            flow: Flow | None = self.visit(node)
            if flow is not None and flow != "next":
                return flow
        return "next"

    def generic_visit(self, node: ast.AST) -> Lines | None:
        return None if isinstance(node, ast.stmt) else super().generic_visit(node)

    # -- assignments ---------------------------------------------------------------------------------------------------
    def visit_Assign(self, node: ast.Assign) -> None:
        if is_base_assignment(node):
            return  # the reader takes it out: the name keeps holding the bases
        value = self.value(node.value)
        for target in node.targets:
            self.assign(target, value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, self.value(node.value))

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        old = self.container(node.target)
        new = self.value(node.value)
        if isinstance(node.op, ast.Add) and isinstance(old, ListLines) and not old.is_tuple:
            extend(old, new, self.budget)
        elif isinstance(node.op, ast.BitOr) and isinstance(old, DictLines):
            update(old, new, self.budget)
        else:
            old = self.binary(old, node.op, new, self.at(node))
        self.assign(node.target, old)

    def assign(self, target: ast.expr, value: Lines) -> None:
        """Bind a target to a value."""
        if isinstance(target, ast.Name):
            self.names.items[target.id] = value
        elif isinstance(target, (ast.Attribute, ast.Subscript)):
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
                self._assign_slice(self.container(target.value), target.slice, value)
            else:
                put(self.container(target.value), self.key(target), value, self.budget)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target.elts, value)

    def _assign_slice(self, node: Lines, bounds: ast.Slice, value: Lines) -> None:
        if not isinstance(node, ListLines):
            return
        cut, items = self.bounds(bounds), members(value, self.budget)
        simple = cut is not None and cut.step in (None, 1)
        if cut is not None and simple and items is not None and node.rest is None:
            node.items[cut] = items
        else:
            node.items, node.rest = [], Leaf(value.origin)

    def _unpack(self, targets: list[ast.expr], value: Lines) -> None:
        items = members(value, self.budget)
        star = next((i for i, target in enumerate(targets) if isinstance(target, ast.Starred)), None)
        if items is None or (len(items) != len(targets) if star is None else len(items) < len(targets) - 1):
            items, star = [opaque(value.origin) for _ in targets], None
        if star is not None:
            n_after = len(targets) - star - 1
            middle = ListLines(value.origin, items[star : len(items) - n_after])
            items = [*items[:star], middle, *items[len(items) - n_after :]]
        for target, item in zip(targets, items, strict=True):
            self.assign(target.value if isinstance(target, ast.Starred) else target, item)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.names.items.pop(target.id, None)
            elif isinstance(target, (ast.Attribute, ast.Subscript)):
                self._delete(target)

    def _delete(self, target: ast.Attribute | ast.Subscript) -> None:
        parent = self.container(target.value)
        bounds = target.slice if isinstance(target, ast.Subscript) else None
        if isinstance(parent, DictLines):
            parent.items.pop(self.key(target), None)
        elif isinstance(parent, ListLines):
            index = self.bounds(bounds) if isinstance(bounds, ast.Slice) else self.key(target)
            if isinstance(index, int) and index >= 0:
                del parent.items[index : index + 1]
            elif parent.rest is None and isinstance(index, (int, slice)):
                del parent.items[index]
            else:
                parent.items, parent.rest = [], Leaf(parent.origin)

    def visit_Expr(self, node: ast.Expr) -> None:
        self.value(node.value)

    # -- branches and loops --------------------------------------------------------------------------------------------
    def visit_If(self, node: ast.If) -> Flow:
        decided = truth(self.value(node.test))
        if decided is not None:
            return self.run(node.body if decided else node.orelse)
        self.run(node.body)
        self.run(node.orelse)
        return "next"

    def visit_For(self, node: ast.For) -> Flow:
        iterated = self.value(node.iter)
        items = members(iterated, self.budget)
        if items is None:
            self.assign(node.target, opaque(iterated.origin))
            self._run_unknown_times(node.body)
            return self.run(node.orelse)
        for item in items:
            self.assign(node.target, item)
            if self.run(node.body) == "break":
                return "next"
        return self.run(node.orelse)

    def visit_While(self, node: ast.While) -> Flow:
        for _ in range(_MAX_WHILE):
            decided = truth(self.value(node.test))
            if decided is False:
                break
            if decided is None:
                self._run_unknown_times(node.body)
                break
            if self.run(node.body) == "break":
                return "next"
        return self.run(node.orelse)

    def _run_unknown_times(self, body: list[ast.stmt]) -> None:
        """Run the body of a loop once. Lists that grow in it may have any number of items like the last one."""
        before = {key: len(found.items) for key, found in lists_below(self.names, self.budget).items()}
        self.run(body)
        for key, found in lists_below(self.names, self.budget).items():
            if before.get(key, len(found.items)) < len(found.items) and found.rest is None:
                found.rest = found.items[-1]

    def visit_Try(self, node: ast.Try) -> Flow:
        return self._try(node)

    def visit_TryStar(self, node: Any) -> Flow:
        return self._try(node)

    def _try(self, node: Any) -> Flow:
        for handler in node.handlers:  # first, so that what the body sets counts
            if handler.name is not None:
                self.names.items[handler.name] = Leaf(self.at(handler), CODE)
            self.run(handler.body)
        flow = self.run([*node.body, *node.orelse])
        self.run(node.finalbody)
        return flow

    def visit_Match(self, node: ast.Match) -> Flow:
        self.value(node.subject)
        for case in node.cases:
            for part in ast.walk(case.pattern):
                for name in (getattr(part, "name", None), getattr(part, "rest", None)):
                    if isinstance(name, str):
                        self.names.items[name] = opaque(Origin(self.path, case.pattern.lineno))
            self.run(case.body)
        return "next"

    def visit_Break(self, node: ast.Break) -> Flow:
        return "break"

    def visit_Continue(self, node: ast.Continue) -> Flow:
        return "continue"

    # -- names that come from elsewhere --------------------------------------------------------------------------------
    def visit_With(self, node: ast.With) -> Flow:
        if is_read_base(node):
            self._read_bases(node)
            return "next"
        for item in node.items:
            entered = self.value(item.context_expr)
            if item.optional_vars is not None:
                self.assign(item.optional_vars, opaque(entered.origin))
        return self.run(node.body)

    def _read_bases(self, node: ast.stmt) -> None:
        for line, base, pairs in self.imported:
            if not node.lineno <= line <= (node.end_lineno or line):
                continue
            for name, here in pairs:
                if name == STAR:
                    self.names.items.update(base.items)
                elif (value := base.items.get(name, base.rest)) is not None:
                    self.names.items[here] = value

    def visit_Import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            if name == STAR:
                self.names.rest = Leaf(self.at(node))
            else:
                self.names.items[name] = Leaf(self.at(node), CODE)

    visit_ImportFrom = visit_Import

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.names.items[node.name] = Leaf(self.at(node), CODE)

    visit_AsyncFunctionDef = visit_FunctionDef
    visit_ClassDef = visit_FunctionDef


def named_bases(module: ast.Module) -> list[tuple[str, Origin]]:
    """What `_base_` names and where, as far as it is written out. The origins are of no file."""
    for node in module.body:
        if isinstance(node, ast.Assign) and is_base_assignment(node):
            budget = Budget()
            named = Expressions("", DictLines(Origin("", 1)), [], budget).value(node.value)
            items = members(named, budget) if isinstance(named, ListLines) else [named]
            return [(str(constant_of(item)), item.origin) for item in items or []]
    return []
