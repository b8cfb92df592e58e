"""What calls that configs make on dicts and lists, such as `update` or `append`, do to the shadow of a config."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trainwright.config.config_dict import DELETE_KEY
from trainwright.config.origins.lines import (
    LONGEST,
    UNKNOWN,
    Budget,
    DictLines,
    Leaf,
    Lines,
    ListLines,
    Origin,
    adopted,
    child,
    constant_of,
    copied,
    deep_copied,
    extend,
    members,
    opaque,
    put,
    shallow,
    truth,
    update,
)


class Call(NamedTuple):
    """The arguments of a call, and where it is written."""

    origin: Origin
    args: ListLines
    keywords: DictLines
    budget: Budget

    def arg(self, index: int) -> Lines | None:
        return child(self.args, index)

    def key(self) -> object:
        """The first argument as a key."""
        first = self.arg(0)
        return UNKNOWN if first is None else constant_of(first)

    def members(self, index: int) -> list[Lines] | None:
        """What a `for` over an argument goes through."""
        node = self.arg(index)
        return None if node is None else members(node, self.budget)

    def none(self) -> Lines:
        """The result of a method that only changes its object."""
        return Leaf(self.origin, None)


def call_function(name: str, call: Call) -> Lines:
    """The result of a function that is known by its name; opaque for any other."""
    function = _FUNCTIONS.get(name)
    result = function(call) if function is not None else None
    return opaque(call.origin) if result is None else result


def call_method(node: Lines, name: str, call: Call) -> Lines | None:
    """The result of a method of a dict or list, which may change `node`; None for a method that is not known."""
    if isinstance(node, Leaf):
        return None
    if isinstance(node, ListLines):
        method = _LIST_METHODS.get(name)
        return None if method is None else method(node, call)
    dict_method = _DICT_METHODS.get(name)
    return None if dict_method is None else dict_method(node, call)


# -- functions ---------------------------------------------------------------------------------------------------------
def _dict(call: Call) -> Lines | None:
    result = DictLines(call.origin)
    first = call.arg(0)
    if first is not None:
        update(result, _pairs(first, call.budget), call.budget)
    update(result, call.keywords, call.budget)
    return result


def _config_dict(call: Call) -> Lines | None:
    result = _dict(call)
    return None if result is None else adopted(result, call.budget)


def _pairs(node: Lines, budget: Budget) -> Lines:
    """A dict from a list of pairs; anything else as it is."""
    items = members(node, budget) if isinstance(node, ListLines) else None
    result = DictLines(node.origin)
    for pair in [members(item, budget) for item in items or []]:
        if pair is None or len(pair) != 2 or constant_of(pair[0]) is UNKNOWN:
            return node
        result.items[constant_of(pair[0])] = pair[1]
    return node if items is None else result


def _sequence(call: Call, is_tuple: bool) -> Lines | None:
    result = ListLines(call.origin, is_tuple=is_tuple)
    first = call.arg(0)
    if first is not None:
        extend(result, first, call.budget)
    return result


def _deepcopy(call: Call) -> Lines | None:
    first = call.arg(0)
    return None if first is None else deep_copied(first, call.budget)


def _copy(call: Call) -> Lines | None:
    first = call.arg(0)
    return None if first is None else shallow(first, call.budget)


def _setattr(call: Call) -> Lines | None:
    node, key, value = call.arg(0), call.arg(1), call.arg(2)
    if node is not None and key is not None and value is not None:
        put(node, constant_of(key), value, call.budget)
    return call.none()


def _len(call: Call) -> Lines | None:
    items = call.members(0)
    return None if items is None else Leaf(call.origin, len(items))


def _str(call: Call) -> Lines | None:
    value = call.key()
    return Leaf(call.origin, str(value)) if isinstance(value, (str, int, float)) else None


def _range(call: Call) -> Lines | None:
    values = [constant_of(arg) for arg in call.args.items]
    if call.args.rest is not None or not 0 < len(values) <= 3 or not all(isinstance(v, int) for v in values):
        return None
    if len(values) == 3 and values[2] == 0:
        return None
    numbers = range(*values)
    return _list(call, [Leaf(call.origin, n) for n in numbers]) if len(numbers) <= LONGEST else None


def _enumerate(call: Call) -> Lines | None:
    items, start = call.members(0), call.arg(1) or call.keywords.items.get("start")
    offset = 0 if start is None else constant_of(start)
    if items is None or not isinstance(offset, int):
        return None
    return _list(call, [_pair(call, Leaf(call.origin, i + offset), item) for i, item in enumerate(items)])


def _zip(call: Call) -> Lines | None:
    columns = [members(arg, call.budget) for arg in call.args.items]
    known = [column for column in columns if column is not None]
    if call.args.rest is not None or len(known) < len(columns):
        return None
    return _list(call, [ListLines(call.origin, list(row), True) for row in zip(*known, strict=False)])


def _reversed(call: Call) -> Lines | None:
    items = call.members(0)
    return None if items is None else _list(call, items[::-1])


def _list(call: Call, items: list[Lines] | list[Leaf] | list[ListLines]) -> ListLines:
    return ListLines(call.origin, list(items))


def _pair(call: Call, first: Lines, second: Lines) -> ListLines:
    return ListLines(call.origin, [first, second], True)


_FUNCTIONS: dict[str, Callable[[Call], Lines | None]] = {
    "dict": _dict,
    "ConfigDict": _config_dict,
    "list": lambda call: _sequence(call, is_tuple=False),
    "tuple": lambda call: _sequence(call, is_tuple=True),
    "deepcopy": _deepcopy,
    "copy": _copy,
    "setattr": _setattr,
    "len": _len,
    "str": _str,
    "range": _range,
    "enumerate": _enumerate,
    "zip": _zip,
    "reversed": _reversed,
}


# -- methods of dicts --------------------------------------------------------------------------------------------------
def _dict_update(node: DictLines, call: Call) -> Lines | None:
    first = call.arg(0)
    if first is not None:
        update(node, _pairs(first, call.budget), call.budget)
    update(node, call.keywords, call.budget)
    return call.none()


def _dict_merge(node: DictLines, call: Call) -> Lines | None:
    other = call.arg(0) or call.keywords.items.get("other")
    if isinstance(other, DictLines) and other.is_dict:
        call.budget.spend(len(node.items))
        result = _dict_merged(copied(other, call.budget, to_config=True), node)
        assert isinstance(result, DictLines)
        node.items, node.rest = result.items, result.rest
    elif other is not None:
        node.rest = node.rest or Leaf(other.origin)
    return call.none()


def _dict_merged(node: Lines, base: Lines | None) -> Lines:
    """As `merged`, except that a `_delete_` which has nothing to delete goes too."""
    if not isinstance(node, DictLines):
        return node
    delete = node.items.pop(DELETE_KEY, None)
    if not isinstance(base, DictLines):
        return node
    replaces = delete is not None and truth(delete) is not False
    result = DictLines(node.origin if replaces else base.origin, {} if replaces else dict(base.items), True)
    result.rest = node.rest if replaces else node.rest or base.rest
    for key, value in node.items.items():
        result.items[key] = _dict_merged(value, result.items.get(key))
    return result


def _dict_get(node: DictLines, call: Call) -> Lines | None:
    key = call.key()
    if key is UNKNOWN:
        return None
    return child(node, key) or call.arg(1) or call.keywords.items.get("default") or call.none()


def _dict_pop(node: DictLines, call: Call) -> Lines | None:
    found = _dict_get(node, call)
    node.items.pop(call.key(), None)
    return found


def _dict_setdefault(node: DictLines, call: Call) -> Lines | None:
    key = call.key()
    if key is not UNKNOWN and key not in node.items and node.rest is None:
        put(node, key, call.arg(1) or call.none(), call.budget)
    return _dict_get(node, call)


def _dict_clear(node: DictLines, call: Call) -> Lines | None:
    node.items, node.rest, node.is_dict = {}, None, True
    return call.none()


def _dict_keys(node: DictLines, call: Call) -> Lines | None:
    keys = members(node, call.budget)
    return None if keys is None else _list(call, keys)


def _dict_values(node: DictLines, call: Call) -> Lines | None:
    return None if node.rest is not None else _list(call, list(node.items.values()))


def _dict_items(node: DictLines, call: Call) -> Lines | None:
    if node.rest is not None:
        return None
    return _list(call, [_pair(call, Leaf(value.origin, key), value) for key, value in node.items.items()])


_DICT_METHODS: dict[str, Callable[[DictLines, Call], Lines | None]] = {
    "update": _dict_update,
    "merge": _dict_merge,
    "get": _dict_get,
    "pop": _dict_pop,
    "setdefault": _dict_setdefault,
    "clear": _dict_clear,
    "copy": lambda node, call: shallow(node, call.budget),
    "deepcopy": lambda node, call: deep_copied(node, call.budget),
    "to_dict": lambda node, call: copied(node, call.budget),
    "keys": _dict_keys,
    "values": _dict_values,
    "items": _dict_items,
}


# -- methods of lists --------------------------------------------------------------------------------------------------
def _append(node: ListLines, call: Call) -> Lines | None:
    first = call.arg(0)
    extend(node, ListLines(call.origin, [] if first is None else [first]), call.budget)
    return call.none()


def _extend(node: ListLines, call: Call) -> Lines | None:
    extend(node, call.arg(0) or opaque(call.origin), call.budget)
    return call.none()


def _insert(node: ListLines, call: Call) -> Lines | None:
    index, value = call.key(), call.arg(1)
    if value is not None and isinstance(index, int) and (index >= 0 or node.rest is None):
        if index <= len(node.items) or node.rest is None:
            node.items.insert(index, value)
    else:
        _forget(node)
    return call.none()


def _pop(node: ListLines, call: Call) -> Lines | None:
    index = call.key() if call.args.items else -1
    if not isinstance(index, int) or (index < 0 and node.rest is not None):
        _forget(node)
        return None
    found = child(node, index)
    if -len(node.items) <= index < len(node.items):
        del node.items[index]
    return found


def _forget(node: ListLines) -> None:
    """From now on no item has a known place."""
    node.items, node.rest = [], Leaf(node.origin)


def _unordered(node: ListLines, call: Call) -> Lines | None:
    _forget(node)
    return call.none()


def _clear(node: ListLines, call: Call) -> Lines | None:
    node.items, node.rest = [], None
    return call.none()


def _reverse(node: ListLines, call: Call) -> Lines | None:
    if node.rest is not None:
        return _unordered(node, call)
    node.items.reverse()
    return call.none()


_LIST_METHODS: dict[str, Callable[[ListLines, Call], Lines | None]] = {
    "append": _append,
    "extend": _extend,
    "insert": _insert,
    "pop": _pop,
    "remove": _unordered,
    "sort": _unordered,
    "clear": _clear,
    "reverse": _reverse,
    "copy": lambda node, call: shallow(node, call.budget),
}


# -- operators ---------------------------------------------------------------------------------------------------------
def added(left: Lines, right: Lines, origin: Origin, budget: Budget) -> Lines | None:
    """`left + right` of lists; of a list and something unknown the first items are known."""
    if not isinstance(left, ListLines):
        return None
    budget.spend(len(left.items))
    result = ListLines(origin, list(left.items), left.is_tuple, left.rest)
    extend(result, right, budget)
    return result


def repeated(node: Lines, times: Lines, origin: Origin) -> Lines | None:
    """`node * times` of a list."""
    if not isinstance(node, ListLines) or node.rest is not None:
        return None
    n = constant_of(times)
    if isinstance(n, int) and len(node.items) * n <= LONGEST:
        return ListLines(origin, node.items * n, node.is_tuple)
    return ListLines(origin, is_tuple=node.is_tuple, rest=node.items[0]) if len(node.items) == 1 else None


def united(left: Lines, right: Lines, budget: Budget) -> Lines | None:
    """`left | right` of dicts; the union with a ConfigDict merges."""
    if not isinstance(left, DictLines) or not isinstance(right, DictLines):
        return None
    if not (left.is_config or right.is_config):
        budget.spend(len(left.items) + len(right.items))
        return DictLines(left.origin, {**left.items, **right.items}, False, left.rest or right.rest)
    result = copied(left, budget, to_config=True)
    assert isinstance(result, DictLines)
    update(result, right, budget)
    return result
