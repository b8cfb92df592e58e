"""What a constructor does with its ``**kwargs``, read from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from typing import Any, NamedTuple


class PassedOn(NamedTuple):
    """``**kwargs`` goes to ``super().__init__``, which also gets so many arguments by position, and these by name."""

    n_positional: int
    names: frozenset[str]


@cache
def passed_on(cls: type) -> PassedOn | None:
    """What the constructor of `cls` itself hands on; None where it does anything else with its ``**kwargs``."""
    function = vars(cls)["__init__"]
    tree = definition(function)
    if tree is None or tree.args.kwarg is None:
        return None
    rest = tree.args.kwarg.arg
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == rest]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_super_init(node)]
    if len(calls) != 1 or len(uses) != 1:
        return None
    call = calls[0]
    if not any(keyword.arg is None and keyword.value is uses[0] for keyword in call.keywords):
        return None
    if any(isinstance(argument, ast.Starred) for argument in call.args):
        return None
    if sum(keyword.arg is None for keyword in call.keywords) > 1:
        return None
    return PassedOn(len(call.args), frozenset(keyword.arg for keyword in call.keywords if keyword.arg is not None))


def is_super_init(call: ast.Call) -> bool:
    """Whether it is ``super().__init__(...)``."""
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr != "__init__":
        return False
    source = function.value
    return isinstance(source, ast.Call) and isinstance(source.func, ast.Name) and source.func.id == "super"


def definition(function: Any) -> ast.FunctionDef | None:
    """A function's definition; None where its source is not to be had."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    except (OSError, TypeError, SyntaxError):
        return None
    return body[0] if len(body) == 1 and isinstance(body[0], ast.FunctionDef) else None
