"""The names that a metric will give, before it is made: declared by its class, or read from its source."""

from __future__ import annotations

import ast
import inspect
from typing import Any, NamedTuple

from trainwright.registry.forwarding import definition, is_super_init

_MISSING: Any = object()
_DECIDING = ("compute_metrics", "evaluate", "_named", "__init__")


class Names(NamedTuple):
    """What is known: all the names, or at least what they begin with ("" is nothing in particular), or neither.

    `any_flat`: besides, any name may follow this beginning that has no '/', as loss terms have.
    """

    names: list[str] | None = None
    prefix: str | None = None
    any_flat: str | None = None

    @property
    def is_known(self) -> bool:
        return self.names is not None or bool(self.prefix)

    def has(self, name: str) -> bool:
        """Whether `name` may be one of them."""
        flat = self.any_flat
        if flat is not None and name.startswith(flat) and "/" not in name[len(flat) :]:
            return True
        if self.names is not None:
            return name in self.names
        return not self.prefix or name.startswith(f"{self.prefix}/")


def names_of(metric: type, base: type, settings: dict[str, Any]) -> Names:
    """The names of an instance of `metric`, a subclass of `base`, made with `settings`."""
    prefix = prefix_of(metric, base, settings)
    owner = next(cls for cls in metric.__mro__ if "result_names" in vars(cls))
    below = metric.__mro__[: metric.__mro__.index(owner)]
    if owner is not base and not any(name in vars(cls) for cls in below for name in _DECIDING):
        declared: list[str] | None = metric.result_names(**settings)  # type: ignore[attr-defined]
        return Names(declared, prefix)
    return Names(read_names(metric, base, settings), prefix)


def read_names(metric: type, base: type, settings: dict[str, Any]) -> list[str] | None:
    """The keys of the dicts that ``compute_metrics`` returns, if they are written out, with the prefix."""
    prefix = prefix_of(metric, base, settings)
    own = _literal_keys(metric.compute_metrics)  # type: ignore[attr-defined]
    if prefix is None or own is None:
        return None
    return [f"{prefix}/{name}" if prefix else name for name in own]


def prefix_of(metric: type, base: type, settings: dict[str, Any]) -> str | None:
    """The prefix, "" for none, of an instance made with `settings`; None where constructors hide what becomes of it."""
    value = settings.get("prefix", _MISSING)
    for cls in metric.__mro__[: metric.__mro__.index(base)]:
        if any(name in vars(cls) for name in ("evaluate", "_named", "prefix")):
            return None
        if "__init__" in vars(cls):
            passed = _passed_on(cls, value)
            if passed is None:
                return None
            value = passed[0]
    given = None if value is _MISSING else value
    prefix = given or getattr(metric, "default_prefix", None) or ""
    return prefix if isinstance(prefix, str) else None


def _passed_on(cls: Any, value: Any) -> tuple[Any] | None:
    """The prefix that a constructor hands to the next one, when it is given `value`; None where that is not clear."""
    tree = definition(cls.__init__)
    if tree is None or any(
        isinstance(node, ast.Attribute) and node.attr == "prefix" and isinstance(node.ctx, ast.Store)
        for node in ast.walk(tree)
    ):
        return None
    parameters = inspect.signature(cls.__init__).parameters
    own = parameters.get("prefix")
    if own is not None and value is _MISSING and own.default is not inspect.Parameter.empty:
        value = own.default
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_super_init(node)]
    if len(calls) != 1:
        return None
    call = calls[0]
    for keyword in call.keywords:
        if keyword.arg == "prefix":
            return _meant(keyword.value, value, own is not None)
    if any(isinstance(arg, ast.Starred) for arg in call.args):
        return None
    names = _positional(cls)
    if names is None or "prefix" in names[: len(call.args)]:
        return None if names is None else _meant(call.args[names.index("prefix")], value, own is not None)
    has_rest = any(keyword.arg is None for keyword in call.keywords)
    return (value,) if own is None and has_rest else (_MISSING,)


def _positional(cls: Any) -> list[str] | None:
    """The names of the arguments of the constructor that ``super().__init__`` calls."""
    try:
        return list(inspect.signature(super(cls, cls).__init__).parameters)[1:]
    except (TypeError, ValueError):
        return None


def _meant(node: ast.expr, value: Any, has_parameter: bool) -> tuple[Any] | None:
    if isinstance(node, ast.Constant):
        return (node.value,)
    if isinstance(node, ast.Name) and node.id == "prefix" and has_parameter:
        return (value,)
    return None


def _literal_keys(function: Any) -> list[str] | None:
    """The keys of all dicts that a function returns, in order; None when one is not written out."""
    tree = definition(function)
    if tree is None:
        return None
    names: dict[str, None] = {}
    returns = [node for node in _own_nodes(tree) if isinstance(node, ast.Return)]
    for node in returns:
        keys = _keys_of(node.value)
        if keys is None:
            return None
        names.update(dict.fromkeys(keys))
    return list(names) if returns else None


def _keys_of(node: ast.expr | None) -> list[str] | None:
    if isinstance(node, ast.Dict):
        keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
        return [k for k in keys if isinstance(k, str)] if all(isinstance(k, str) for k in keys) else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        names = [keyword.arg for keyword in node.keywords]
        return [n for n in names if n is not None] if None not in names else None
    return None


def _own_nodes(function: ast.AST) -> list[ast.AST]:
    """The nodes of a function without those of functions in it."""
    found: list[ast.AST] = []
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop(0)
        found.append(node)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)
    return found
