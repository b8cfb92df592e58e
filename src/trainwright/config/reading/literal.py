"""Python configs that are not trusted: their literals are read, and nothing in them is run.

What can be read: literals, names defined before, `_base_`, look-ups in dicts and lists, arithmetic on numbers,
concatenation, `dict()` and the other builtin types with literal arguments, and imports, which only name things. All
else is refused with its line.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.base.lazy import LazyObject, lazily
from trainwright.base.text import did_you_mean
from trainwright.config.config_dict import ConfigDict, weighs_less
from trainwright.config.reading.document import (
    BASE_KEY,
    STAR,
    BaseRequest,
    Evaluated,
    Inherited,
    base_list,
    base_lookup,
)
from trainwright.config.reading.split import parse_module
from trainwright.config.reading.standard import is_ours_in_text, is_standard
from trainwright.config.reading.substitute import MARKER
from trainwright.config.reading.syntax import block_requests, has_import_syntax, is_base_assignment, is_read_base
from trainwright.config.sources import Syntax

MAX_LENGTH = 1_000_000  # of a text that an operation makes
MAX_ITEMS = 100_000  # of a list that an operation makes
MAX_KEY = 1_000  # items of a key, which is hashed place by place
MAX_BITS = 10_000  # of a number
_BUILTINS: dict[str, Callable[..., Any]] = {
    "bool": bool,
    "complex": complex,
    "dict": dict,
    "float": float,
    "frozenset": frozenset,
    "int": int,
    "list": list,
    "range": range,
    "set": set,
    "slice": slice,
    "str": str,
    "tuple": tuple,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_NUMBERS = (int, float, complex)


class LiteralDocument:
    """A Python config that is read and not run."""

    def __init__(self, text: str, base_keys: list[str], path: str, lazy_import: bool | None) -> None:
        self._path = path
        self._base_keys = base_keys
        self._module = parse_module(text, path)
        has_bases = any(is_base_assignment(node) for node in self._module.body)
        is_import = lazy_import if lazy_import is not None else not has_bases and has_import_syntax(self._module)
        self.syntax: Syntax = "import" if is_import else "text"
        self.requests: list[BaseRequest] = []
        self._blocks: dict[int, int] = {}  # line of a `with read_base()` -> its number
        for node in self._module.body:
            if is_base_assignment(node) and self.syntax == "text" and not self.requests:
                self._request_bases(node)
            elif is_read_base(node):
                self._request_block(node)

    def _request_bases(self, node: Any) -> None:
        evaluator = _Evaluator(self._path, {}, [], ConfigDict())
        for name in base_list(evaluator.value(node.value), self._path, node.lineno):
            self.requests.append(BaseRequest(name, node.lineno))

    def _request_block(self, node: Any) -> None:
        block = self._blocks[node.lineno] = len(self._blocks)
        self.requests += block_requests(node.body, self._path, block)

    def evaluate(self, inherited: Inherited) -> Evaluated:
        names: dict[str, Any] = {}
        if self.syntax == "text":
            names[BASE_KEY] = inherited.tree
        evaluator = _Evaluator(self._path, names, self._base_keys, inherited.tree)
        with lazily():
            for node in self._module.body:
                if is_read_base(node):
                    names.update(inherited.blocks.get(self._blocks[node.lineno], {}))
                elif not is_base_assignment(node):
                    evaluator.statement(node)
        names.pop(BASE_KEY, None)
        tree = {key: value for key, value in names.items() if not (isinstance(key, str) and key.startswith("__"))}
        imported = evaluator.imported | inherited.hidden
        lazy = {name for name, value in tree.items() if isinstance(value, LazyObject)}
        helpers = {name: tree.pop(name) for name in (evaluator.helpers | set(inherited.helpers)) & lazy}
        return Evaluated(tree, frozenset(imported & lazy), helpers)


class _Evaluator:
    """Evaluates the few kinds of statements and expressions that need nothing to be run."""

    def __init__(self, path: str, names: dict[str, Any], base_keys: list[str], base: ConfigDict) -> None:
        self._path = path
        self._names = names
        self._base_keys = base_keys
        self._look_up = base_lookup(base)
        self.imported: set[str] = set()  # names that imports of libraries have bound
        self.helpers: set[str] = set()  # and those of the standard library

    # -- statements ----------------------------------------------------------------------------------------------------
    def statement(self, node: ast.stmt) -> None:
        handler = getattr(self, f"_do_{type(node).__name__}", None)
        if handler is None:
            raise self._refused(node, f"a `{_word(node)}` statement")
        try:
            handler(node)
        except RecursionError as error:
            raise ConfigError("nested too deep", self._path, node.lineno) from error

    def _do_Pass(self, node: ast.Pass) -> None:
        pass

    def _do_Assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self._store(target, value)

    def _do_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._store(node.target, self.value(node.value))

    def _do_AugAssign(self, node: ast.AugAssign) -> None:
        if not isinstance(node.target, ast.Name):
            raise self._refused(node, "an augmented assignment to a part of a value")
        old = self.value(ast.copy_location(ast.Name(node.target.id, ast.Load()), node))
        value = self.value(node.value)
        if isinstance(old, list) and isinstance(node.op, ast.Add) and isinstance(value, (list, tuple)):
            if len(old) + len(value) > MAX_ITEMS:
                raise self._refused(node, f"`{_excerpt(node)}`, whose result would be too large,")
            old += value  # in place, as in Python: whoever else holds the list sees it
        else:
            self._names[node.target.id] = self._arithmetic(node, node.op, old, value)

    def _do_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self.value(ast.copy_location(ast.Name(target.id, ast.Load()), node))
                del self._names[target.id]
            else:
                self._guarded(node, partial(operator.delitem, *self._place(target)))

    def _do_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        call = node.value
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "globals().update" and len(call.args) == 1:
            extra = self.value(call.args[0])  # how a dumped config writes keys that are no names
            if isinstance(extra, dict):
                self._names.update(extra)
                return
        raise self._refused(node, "a statement that is evaluated for its effect")

    def _do_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            earlier = self._names.get(name)
            modules = [alias.name]
            if isinstance(earlier, LazyObject) and not isinstance(earlier._module, str):
                modules = [*earlier._module, alias.name]
            where = f"{self._path}, line {node.lineno}"
            self._names[name] = LazyObject(alias.name if alias.asname else modules, None, where)
            (self.helpers if is_standard(alias.name) else self.imported).add(name)

    def _do_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == STAR:
                raise self._refused(node, "`import *` outside of `with read_base():`")
            module = "." * node.level + (node.module or "")
            where = f"{self._path}, line {node.lineno}"
            name = alias.asname or alias.name
            self._names[name] = LazyObject(module, alias.name, where)
            is_helper = is_standard(module) or is_ours_in_text(module, alias.name)
            (self.helpers if is_helper else self.imported).add(name)

    def _store(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self._names[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(value, (list, tuple)) or len(value) != len(target.elts):
                raise self._refused(target, "unpacking a value of another length")
            for part, item in zip(target.elts, value, strict=True):
                self._store(part, item)
        else:
            self._guarded(target, partial(operator.setitem, *self._place(target), value))

    def _place(self, target: ast.expr) -> tuple[Any, Any]:
        """The container and the key that `a.b`, `a["b"]` or `a[0]` stands for."""
        if isinstance(target, ast.Attribute):
            container, key = self.value(target.value), target.attr
            if not isinstance(container, ConfigDict):
                raise self._refused(target, "setting an attribute")
            return container, key
        if isinstance(target, ast.Subscript):
            container = self.value(target.value)
            if not isinstance(container, (dict, list)):
                raise self._refused(target, "changing a part of a value that is no dict or list")
            return container, self._key(target.slice)
        raise self._refused(target, "an assignment of this form")

    # -- expressions ---------------------------------------------------------------------------------------------------
    def value(self, node: ast.expr) -> Any:
        """What the expression is."""
        handler = getattr(self, f"_of_{type(node).__name__}", None)
        if handler is None:
            raise self._refused(node, f"`{_excerpt(node)}`")
        return handler(node)

    def _of_Constant(self, node: ast.Constant) -> Any:
        if self._base_keys and isinstance(node.value, str) and MARKER.search(node.value):
            return self._joined(
                node, [self._piece(part, i % 2 == 1, node) for i, part in enumerate(MARKER.split(node.value))]
            )
        return node.value

    def _piece(self, part: str, is_marker: bool, node: ast.expr) -> str:
        value = self._marked(part, node) if is_marker else part
        if not isinstance(value, (str, int, float)) and not weighs_less(value, MAX_KEY):
            raise self._refused(node, "a text that holds so large a value")
        return str(value)

    def _joined(self, node: ast.expr, pieces: list[str]) -> str:
        if sum(map(len, pieces)) > MAX_LENGTH:
            raise self._refused(node, f"a text of more than {MAX_LENGTH:,} characters")
        return "".join(pieces)

    def _of_Name(self, node: ast.Name) -> Any:
        match = MARKER.fullmatch(node.id)
        if match and self._base_keys:
            return self._marked(match[1], node)
        if node.id in self._names:
            return self._names[node.id]
        if node.id in _BUILTINS:
            return _BUILTINS[node.id]
        hint = did_you_mean(node.id, [str(name) for name in self._names])
        raise ConfigError(f"the name {node.id!r} is not defined here.{hint}", self._path, node.lineno)

    def _of_Dict(self, node: ast.Dict) -> Any:
        result: dict[Any, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.value(item)
            if key is not None:
                self._guarded(node, partial(operator.setitem, result, self._key(key), value))
            elif isinstance(value, dict):
                result.update(dict.items(value))
            else:
                raise self._refused(item, "`**` of something that is no dict")
        return result

    def _of_List(self, node: ast.List) -> Any:
        return self._items(node.elts)

    def _of_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._items(node.elts))

    def _of_Set(self, node: ast.Set) -> Any:
        items = self._items(node.elts)
        self._check_keys(node, items)
        return self._guarded(node, lambda: set(items))

    def _key(self, node: ast.expr) -> Any:
        key = self.value(node)
        self._check_keys(node, [key])
        return key

    def _check_keys(self, node: ast.expr, keys: Iterable[Any]) -> None:
        if not all(weighs_less(key, MAX_KEY) for key in keys if isinstance(key, (tuple, frozenset))):
            raise self._refused(node, f"a key of more than {MAX_KEY:,} items")

    def _items(self, nodes: list[ast.expr]) -> list[Any]:
        items: list[Any] = []
        for node in nodes:
            if not isinstance(node, ast.Starred):
                items.append(self.value(node))
                continue
            value = self.value(node.value)
            if not isinstance(value, (list, tuple, set, frozenset)):
                raise self._refused(node, "`*` of something that is no list")
            if len(items) + len(value) > MAX_ITEMS:
                raise self._refused(node, f"`{_excerpt(node)}`, whose result would be too large,")
            items += value
        return items

    def _of_Call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in _BUILTINS or name in self._names:
            raise self._refused(node, f"the call `{_excerpt(node)}`")
        arguments = self._items(node.args)
        keywords: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, dict):
                keywords.update(dict.items(value))
            else:
                raise self._refused(node, "`**` of something that is no dict")
        if name in ("set", "frozenset", "dict"):
            self._check_keys(
                node, (key for value in arguments if isinstance(value, (list, tuple, set)) for key in value)
            )
        if name in ("int", "str") and any(isinstance(value, (str, int)) and _size(value) > 4000 for value in arguments):
            raise self._refused(node, "a number of more than 4,000 digits")
        made = self._guarded(node, lambda: _BUILTINS[name](*arguments, **keywords))
        if isinstance(made, range) and not self._guarded(node, lambda: len(made) <= MAX_ITEMS):
            raise self._refused(node, f"`{_excerpt(node)}`, whose result would be too large,")
        return made

    def _of_Attribute(self, node: ast.Attribute) -> Any:
        value = self.value(node.value)
        if isinstance(value, ConfigDict) and node.attr in value:
            return dict.__getitem__(value, node.attr)
        if isinstance(value, LazyObject) and not node.attr.startswith("_"):
            return getattr(value, node.attr)
        if isinstance(value, ConfigDict):
            hint = did_you_mean(node.attr, [str(key) for key in value])
            raise ConfigError(
                f"there is no key {node.attr!r} in `{_excerpt(node.value)}`.{hint}", self._path, node.lineno
            )
        raise self._refused(node, f"the attribute `{_excerpt(node)}`")

    def _of_Subscript(self, node: ast.Subscript) -> Any:
        value = self.value(node.value)
        if not isinstance(value, (dict, list, tuple, str)):
            raise self._refused(node, f"`{_excerpt(node)}`")
        key = self._key(node.slice)
        raw: Any = dict.__getitem__ if isinstance(value, dict) else operator.getitem
        return self._guarded(node, partial(raw, value, key))

    def _of_Slice(self, node: ast.Slice) -> Any:
        return slice(*(None if part is None else self.value(part) for part in (node.lower, node.upper, node.step)))

    def _of_UnaryOp(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if not isinstance(value, (*_NUMBERS, bool)):
            raise self._refused(node, f"`{_excerpt(node)}`")
        return self._guarded(node, lambda: _UNARY[type(node.op)](value))

    def _of_BinOp(self, node: ast.BinOp) -> Any:
        return self._arithmetic(node, node.op, self.value(node.left), self.value(node.right))

    def _arithmetic(self, node: Any, op: ast.operator, left: Any, right: Any) -> Any:
        numbers = isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)
        joins = isinstance(op, ast.Add) and type(left) is type(right) and isinstance(left, (str, list, tuple))
        repeats = isinstance(op, ast.Mult) and isinstance(left, (str, list, tuple)) and isinstance(right, int)
        if type(op) not in ARITHMETIC or not (numbers or joins or repeats):
            raise self._refused(node, f"`{_excerpt(node)}`")
        if joins:
            size, limit = len(left) + len(right), MAX_LENGTH if isinstance(left, str) else MAX_ITEMS
        elif repeats:
            size, limit = len(left) * max(right, 0), MAX_LENGTH if isinstance(left, str) else MAX_ITEMS
        else:
            size, limit = _bits(left) + _bits(right), MAX_BITS
        if size > limit:
            raise self._refused(node, f"`{_excerpt(node)}`, whose result would be too large,")
        return self._guarded(node, lambda: ARITHMETIC[type(op)](left, right))

    def _of_JoinedStr(self, node: ast.JoinedStr) -> Any:
        pieces: list[str] = []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                value = self.value(part.value)
                if part.format_spec is not None or not isinstance(value, (str, int, float, bool, type(None))):
                    raise self._refused(node, f"`{_excerpt(node)}`")
                if isinstance(value, int) and _bits(value) > MAX_BITS:
                    raise self._refused(node, f"`{_excerpt(node)}`, whose result would be too large,")
                pieces.append(repr(value) if part.conversion == ord("r") else str(value))
            else:
                pieces.append(str(self.value(part)))
        return self._joined(node, pieces)

    def _marked(self, index: str, node: ast.expr) -> Any:
        try:
            return self._look_up(self._base_keys[int(index)])
        except ConfigError as error:
            raise type(error)(str(error), self._path, node.lineno) from error

    def _guarded(self, node: Any, operation: Callable[[], Any]) -> Any:
        try:
            return operation()
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{type(error).__name__}: {error}", self._path, node.lineno) from error

    def _refused(self, node: Any, what: str) -> ConfigError:
        return ConfigError(
            f"{what} would have to be run, and a config that is read with trusted=False is not run. If you know the "
            "file, read it without trusted=False.",
            self._path,
            node.lineno,
        )


def _bits(number: Any) -> int:
    return number.bit_length() if isinstance(number, int) else 64


def _size(value: str | int) -> int:
    return len(value) if isinstance(value, str) else value.bit_length() // 3


def _word(node: ast.AST) -> str:
    words = {"FunctionDef": "def", "AsyncFunctionDef": "async def", "ClassDef": "class", "With": "with"}
    return words.get(type(node).__name__, type(node).__name__.lower())


def _excerpt(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:57]}..."
