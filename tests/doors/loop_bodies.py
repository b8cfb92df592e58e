"""Finds, in syntax trees, the loops whose body steps: trains or evaluates on a batch, itself or by what it calls."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A call of one of these is a step, or makes several; `.step` is told apart below.
STEPS = {
    "run_iter",
    "run_span",
    "run_step",
    "train_step",
    "val_step",
    "test_step",
    "batch_processor",
    "iterate",
    "step",
    "update_params",
    "backward",
    "model",
    "run_share",
    "run_one",
    "run_epoch",
}
LOOPS = (ast.For, ast.AsyncFor, ast.While)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True, order=True)
class Place:
    """A loop that steps: in which function of which file, and the names of what it calls there."""

    file: str
    function: str
    calls: tuple[str, ...]
    line: int

    @property
    def name(self) -> str:
        """How the list of allowed places names it."""
        return f"{self.file}::{self.function}"


def called_name(call: ast.Call) -> str:
    """The last name of what is called: ``c`` for ``a.b.c()``, and ``f`` for ``map(f, ...)`` and ``partial(f, ...)``."""
    func: ast.expr = call.func
    if isinstance(func, ast.Name) and func.id in ("map", "filter", "partial") and call.args:
        func = call.args[0]
    if isinstance(func, ast.Attribute):
        return func.attr
    return func.id if isinstance(func, ast.Name) else ""


def stepping_functions(tree: ast.AST) -> set[str]:
    """Names of functions of a file that step, by themselves or through another one of the file."""
    functions: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            called = {called_name(call) for call in ast.walk(node) if isinstance(call, ast.Call)}
            functions.setdefault(node.name, set()).update(called)
    found = set(STEPS)
    while True:
        more = {name for name, called in functions.items() if called & found} - found
        if not more:
            return found
        found |= more


def bodies(loop: ast.AST) -> list[ast.AST]:
    """What of a loop is done again and again."""
    if isinstance(loop, (ast.For, ast.AsyncFor)):
        return list(loop.body)
    if isinstance(loop, ast.While):
        return [loop.test, *loop.body]
    assert isinstance(loop, COMPREHENSIONS)
    parts = [loop.key, loop.value] if isinstance(loop, ast.DictComp) else [loop.elt]
    return [*parts, *(test for part in loop.generators for test in part.ifs)]


def places_in(source: str, file: str) -> Iterator[Place]:
    """The loops of a file that step."""
    tree = ast.parse(source)
    names = stepping_functions(tree)

    def visit(node: ast.AST, path: tuple[str, ...]) -> Iterator[Place]:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            path = (*path, node.name)
        if isinstance(node, (*LOOPS, *COMPREHENSIONS)):
            calls = {
                called_name(call)
                for part in bodies(node)
                for call in ast.walk(part)
                if isinstance(call, ast.Call) and called_name(call) in names
            }
            if calls:
                yield Place(file, ".".join(path), tuple(sorted(calls)), node.lineno)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, path)

    yield from visit(tree, ())


def places_below(folder: Path) -> list[Place]:
    """Those of all files of a package."""
    return sorted(
        place
        for path in sorted(folder.rglob("*.py"))
        for place in places_in(path.read_text(encoding="utf-8"), path.relative_to(folder).as_posix())
    )
