"""The shadow of a Python expression, found without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from trainwright.config.origins.calls import Call, added, call_function, call_method, repeated, united
from trainwright.config.origins.lines import (
    CODE,
    LONGEST,
    UNKNOWN,
    Budget,
    DictLines,
    Leaf,
    Lines,
    ListLines,
    Origin,
    child,
    constant_of,
    extend,
    members,
    opaque,
    put,
    truth,
    update,
)
from trainwright.config.reading.document import BASE_KEY
from trainwright.config.reading.literal import ARITHMETIC
from trainwright.config.reading.substitute import MARKER

_MAX_NUMBER = 1e15
_NAMESPACE = frozenset({"globals", "locals", "vars"})
_COPYING = frozenset({"copy", "deepcopy"})
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}


class Expressions(ast.NodeVisitor):
    """Expressions of one file, given the names that are bound so far. `base_keys` are those of its SourceFile."""

    def __init__(self, path: str, base: DictLines, base_keys: list[str], budget: Budget) -> None:
        self.path = path
        self.base = base
        self.base_keys = base_keys
        self.budget = budget
        self.names = DictLines(Origin(path, 1), {BASE_KEY: base})

    def at(self, node: ast.expr | ast.stmt | ast.excepthandler) -> Origin:
        return Origin(self.path, node.lineno)

    def value(self, node: ast.expr) -> Lines:
        """The value of an expression. A name gives the very object it is bound to, so that changes are seen."""
        self.budget.spend()
        result = self.visit(node)
        assert isinstance(result, (Leaf, DictLines, ListLines))
        return result

    def generic_visit(self, node: ast.AST) -> Any:
        assert isinstance(node, ast.expr)
        return opaque(self.at(node))

    def container(self, node: ast.expr) -> Lines:
        """As `value`, for an object that is about to be changed: one that lies in an unknown value is put there."""
        if not isinstance(node, (ast.Attribute, ast.Subscript)):
            return self.value(node)
        parent, key = self.container(node.value), self.key(node)
        if not isinstance(parent, DictLines) or key is UNKNOWN or key in parent.items or parent.rest is None:
            return self.value(node)
        parent.items[key] = found = opaque(parent.rest.origin)
        return found

    def key(self, node: ast.Attribute | ast.Subscript) -> Any:
        """The key that `x.key` or `x[key]` names, or UNKNOWN."""
        if isinstance(node, ast.Attribute):
            return node.attr
        return UNKNOWN if isinstance(node.slice, ast.Slice) else constant_of(self.value(node.slice))

    # -- literals ------------------------------------------------------------------------------------------------------
    def visit_Constant(self, node: ast.Constant) -> Lines:
        has_marker = isinstance(node.value, str) and self.base_keys and MARKER.search(node.value)
        return Leaf(self.at(node), UNKNOWN if has_marker else node.value)

    def visit_Dict(self, node: ast.Dict) -> Lines:
        result = DictLines(self.at(node))
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                update(result, self.value(value), self.budget)
            else:
                put(result, constant_of(self.value(key)), self.value(value), self.budget)
        return result

    def visit_List(self, node: ast.List) -> Lines:
        return self._sequence(node.elts, self.at(node), is_tuple=False)

    def visit_Tuple(self, node: ast.Tuple) -> Lines:
        return self._sequence(node.elts, self.at(node), is_tuple=True)

    def _sequence(self, nodes: list[ast.expr], origin: Origin, is_tuple: bool) -> ListLines:
        result = ListLines(origin, is_tuple=is_tuple)
        for node in nodes:
            if isinstance(node, ast.Starred):
                extend(result, self.value(node.value), self.budget)
            else:
                extend(result, ListLines(origin, [self.value(node)]), self.budget)
        return result

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Lines:
        parts = [self._text(part) for part in node.values]
        known = not any(part is UNKNOWN for part in parts) and sum(map(len, parts)) < LONGEST
        return Leaf(self.at(node), "".join(parts) if known else UNKNOWN)

    def _text(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return constant_of(self.visit_Constant(node))
        if not isinstance(node, ast.FormattedValue) or node.format_spec is not None or node.conversion != -1:
            return UNKNOWN
        value = constant_of(self.value(node.value))
        return UNKNOWN if value is UNKNOWN else str(value)

    # -- names and their parts -----------------------------------------------------------------------------------------
    def visit_Name(self, node: ast.Name) -> Lines:
        marker = MARKER.fullmatch(node.id)
        if marker is not None and int(marker[1]) < len(self.base_keys):
            return base_value(self.base, self.base_keys[int(marker[1])]) or Leaf(self.at(node))
        found = self.names.items.get(node.id)
        if found is None or (isinstance(found, Leaf) and found.constant is CODE):
            return Leaf(self.at(node))
        return found

    def visit_Attribute(self, node: ast.Attribute) -> Lines:
        return child(self.value(node.value), node.attr) or Leaf(self.at(node))

    def visit_Subscript(self, node: ast.Subscript) -> Lines:
        parent = self.value(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._sliced(parent, node.slice, self.at(node))
        key = self.key(node)
        if isinstance(parent, Leaf) and isinstance(parent.constant, str) and isinstance(key, int):
            parent = ListLines(parent.origin, members(parent, self.budget))
        found = None if key is UNKNOWN else child(parent, key)
        return opaque(self.at(node)) if found is None else found

    def _sliced(self, node: Lines, bounds: ast.Slice, origin: Origin) -> Lines:
        cut = self.bounds(bounds)
        if cut is not None and isinstance(node, Leaf) and isinstance(node.constant, str):
            return Leaf(origin, node.constant[cut])
        if not isinstance(node, ListLines) or node.rest is not None or cut is None:
            return opaque(origin)
        self.budget.spend(len(node.items))
        return ListLines(origin, node.items[cut], node.is_tuple)

    def bounds(self, node: ast.Slice) -> slice | None:
        """A slice whose bounds are known numbers."""
        values = [
            None if part is None else constant_of(self.value(part)) for part in (node.lower, node.upper, node.step)
        ]
        known = all(value is None or isinstance(value, int) for value in values) and values[2] != 0
        return slice(*values) if known else None

    def visit_NamedExpr(self, node: ast.NamedExpr) -> Lines:
        self.names.items[node.target.id] = value = self.value(node.value)
        return value

    # -- operators -----------------------------------------------------------------------------------------------------
    def visit_BinOp(self, node: ast.BinOp) -> Lines:
        return self.binary(self.value(node.left), node.op, self.value(node.right), self.at(node))

    def binary(self, left: Lines, op: ast.operator, right: Lines, origin: Origin) -> Lines:
        """The result of an operator; opaque where it cannot be told."""
        result: Lines | None = None
        if isinstance(op, ast.Add):
            result = added(left, right, origin, self.budget)
        elif isinstance(op, ast.Mult):
            result = repeated(left, right, origin) or repeated(right, left, origin)
        elif isinstance(op, ast.BitOr):
            result = united(left, right, self.budget)
        if result is not None:
            return result
        value = _computed(ARITHMETIC.get(type(op)), constant_of(left), constant_of(right))
        return opaque(origin) if value is UNKNOWN else Leaf(origin, value)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Lines:
        operand = self.value(node.operand)
        if isinstance(node.op, ast.Not):
            decided = truth(operand)
            return Leaf(self.at(node), UNKNOWN if decided is None else not decided)
        return Leaf(self.at(node), _computed(_UNARY[type(node.op)], constant_of(operand)))

    def visit_BoolOp(self, node: ast.BoolOp) -> Lines:
        stops_at = isinstance(node.op, ast.Or)
        value = self.value(node.values[0])
        for following in node.values[1:]:
            decided = truth(value)
            if decided is None:
                return opaque(self.at(node))
            if decided is stops_at:
                return value
            value = self.value(following)
        return value

    def visit_IfExp(self, node: ast.IfExp) -> Lines:
        decided = truth(self.value(node.test))
        if decided is None:
            return opaque(self.at(node))
        return self.value(node.body if decided else node.orelse)

    def visit_Compare(self, node: ast.Compare) -> Lines:
        operands = [self.value(operand) for operand in (node.left, *node.comparators)]
        if len(operands) != 2:
            return Leaf(self.at(node))
        left, op, right = operands[0], node.ops[0], operands[1]
        if isinstance(op, (ast.In, ast.NotIn)):
            contained = _contains(right, left, self.budget)
            return Leaf(self.at(node), UNKNOWN if contained is None else contained is isinstance(op, ast.In))
        return Leaf(self.at(node), _computed(_COMPARISONS[type(op)], constant_of(left), constant_of(right)))

    # -- calls ---------------------------------------------------------------------------------------------------------
    def visit_Call(self, node: ast.Call) -> Lines:
        origin = self.at(node)
        keywords = DictLines(origin)
        args = self._sequence(node.args, origin, is_tuple=False)
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is None:
                update(keywords, value, self.budget)
            else:
                keywords.items[keyword.arg] = value
        return self._called(node.func, Call(origin, args, keywords, self.budget))

    def _called(self, function: ast.expr, call: Call) -> Lines:
        if isinstance(function, ast.Name):
            return self.names if function.id in _NAMESPACE and not call.args.items else call_function(function.id, call)
        if not isinstance(function, ast.Attribute):
            return opaque(call.origin)
        result = call_method(self.container(function.value), function.attr, call)
        if result is not None:
            return result
        return call_function(function.attr, call) if function.attr in _COPYING else opaque(call.origin)


def base_value(base: DictLines, dotted: str) -> Lines | None:
    """What `{{ _base_.dotted }}` stands for."""
    node: Lines | None = base
    for part in dotted.split("."):
        node = None if node is None else child(node, part)
    return node


def _computed(function: Callable[..., Any] | None, *values: Any) -> Any:
    """A small result of numbers and strings, or UNKNOWN."""
    if function is None or not all(isinstance(value, (str, int, float, type(None), tuple)) for value in values):
        return UNKNOWN
    if any(isinstance(value, (int, float)) and not abs(value) < _MAX_NUMBER for value in values):
        return UNKNOWN
    try:
        result = function(*values) if _is_small(function, values) else UNKNOWN
    except (TypeError, ValueError, ArithmeticError):
        return UNKNOWN
    return result if isinstance(result, (str, int, float)) else UNKNOWN


def _is_small(function: Callable[..., Any], values: tuple[Any, ...]) -> bool:
    texts = [value for value in values if isinstance(value, (str, tuple))]
    if function in (operator.mul, operator.mod):
        return not texts
    return sum(map(len, texts)) < LONGEST


def _contains(node: Lines, item: Lines, budget: Budget) -> bool | None:
    value = constant_of(item)
    if isinstance(node, Leaf):
        text = constant_of(node)
        return value in text if isinstance(text, str) and isinstance(value, str) else None
    if value is UNKNOWN:
        return None
    values = [constant_of(member) for member in members(node, budget) or [] if not _differs(member, value)]
    if value in values:
        return True
    return None if node.rest is not None or UNKNOWN in values else False


def _differs(node: Lines, value: Any) -> bool:
    """Whether a list or dict is surely not `value`, whose like can only be a number, a text or a tuple."""
    if isinstance(node, ListLines):
        return not (node.is_tuple and isinstance(value, tuple))
    return isinstance(node, DictLines) and node.is_dict
