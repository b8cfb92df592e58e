"""The shadow of a config tree: the same shape, but each node knows where its value was written instead of what it is.

A shadow is made by following a file without running it. Where that ends, because a value comes from a call or a
computation, the shadow is of unknown shape and whatever lies below it has the origin of that expression.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Literal, NamedTuple, TypeAlias

from trainwright.config.config_dict import DELETE_KEY


class Origin(NamedTuple):
    """What set a value: a line of a file, an override such as `--cfg-options`, or a default.

    `line` is None where a file is known to have set a value, but not how.
    """

    file: str | None
    line: int | None
    kind: Literal["file", "override", "default"] = "file"
    label: str = ""

    def __str__(self) -> str:
        if self.file is None:
            return self.label
        path = self.file
        with suppress(OSError):  # the current folder may have been deleted
            path = path.removeprefix(os.path.join(os.getcwd(), ""))
        return path if self.line is None else f"{path}:{self.line}"


class _Mark:
    """What stands for a value that is not known."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name

    def __reduce__(self) -> str:  # a copied or pickled mark is the same mark
        return self._name


UNKNOWN = _Mark("UNKNOWN")  # some value
CODE = _Mark("CODE")  # a module, class or function: a name of it is no place where a value was written


class Leaf:
    """A value without parts; `constant` is the value itself where it is a literal."""

    __slots__ = ("constant", "origin")

    def __init__(self, origin: Origin, constant: Any = UNKNOWN) -> None:
        self.origin = origin
        self.constant = constant


class DictLines:
    """A dict. `rest` stands for the keys that are not in `items`, where there may be any; `is_config` tells a
    ConfigDict, whose `update` merges, from a dict. With `is_dict` False it is a value of unknown type.
    """

    __slots__ = ("is_config", "is_dict", "items", "origin", "rest")

    def __init__(
        self,
        origin: Origin,
        items: dict[Any, Lines] | None = None,
        is_config: bool = False,
        rest: Lines | None = None,
        is_dict: bool = True,
    ) -> None:
        self.origin = origin
        self.items: dict[Any, Lines] = {} if items is None else items
        self.is_config = is_config
        self.rest = rest
        self.is_dict = is_dict


class ListLines:
    """A list or tuple. `rest` stands for what follows the known items, where there may be any."""

    __slots__ = ("is_tuple", "items", "origin", "rest")

    def __init__(
        self, origin: Origin, items: list[Lines] | None = None, is_tuple: bool = False, rest: Lines | None = None
    ) -> None:
        self.origin = origin
        self.items: list[Lines] = [] if items is None else items
        self.is_tuple = is_tuple
        self.rest = rest


LONGEST = 10_000  # items of a computed list, or letters of a computed text, that are still followed

Lines: TypeAlias = "Leaf | DictLines | ListLines"


class OutOfBudget(Exception):
    """Following a file takes longer than it is worth."""


class Budget:
    """How many more steps may be spent on one file, so that no file can make us hang."""

    __slots__ = ("left",)

    def __init__(self, n_steps: int = 300_000) -> None:
        self.left = n_steps

    def spend(self, n_steps: int = 1) -> None:
        self.left -= n_steps
        if self.left < 0:
            raise OutOfBudget


# -- reading -----------------------------------------------------------------------------------------------------------
def opaque(origin: Origin) -> DictLines:
    """A value that cannot be looked into, such as the result of a call; items may be set on it later."""
    return DictLines(origin, rest=Leaf(origin), is_dict=False)


def child(node: Lines, key: Any) -> Lines | None:
    """The item of `node` at `key`, None where there is none."""
    if isinstance(node, DictLines):
        found = node.items.get(key)
        if found is None and not node.is_dict and isinstance(key, int):
            found = node.items.get(str(key))  # an override of an item, where it was not known that this is a list
        return node.rest if found is None else found
    if isinstance(node, Leaf):
        return node if node.constant is UNKNOWN else None
    index = as_index(key)
    if index is None or (index < 0 and node.rest is not None):
        return node.rest
    return node.items[index] if -len(node.items) <= index < len(node.items) else node.rest


def as_index(key: Any) -> int | None:
    """`key` as the index of a list: a number, or one in digits as overrides have it."""
    if isinstance(key, int):
        return int(key)
    return int(key) if isinstance(key, str) and key.isdecimal() else None


def constant_of(node: Lines) -> Any:
    """The value of a literal, or UNKNOWN. Lists and dicts are not made again, tuples are: they can be keys."""
    if isinstance(node, Leaf):
        return UNKNOWN if node.constant is CODE else node.constant
    if isinstance(node, ListLines) and node.is_tuple and node.rest is None:
        values = tuple([constant_of(item) for item in node.items])
        return UNKNOWN if any(value is UNKNOWN for value in values) else values
    return UNKNOWN


def truth(node: Lines) -> bool | None:
    """Whether a value is true in an `if`; None where that cannot be told."""
    if isinstance(node, Leaf):
        value = constant_of(node)
        return None if value is UNKNOWN else bool(value)
    return True if node.items else None if node.rest is not None else False


def members(node: Lines, budget: Budget) -> list[Lines] | None:
    """What a `for` goes through: the items of a list, the keys of a dict; None where that cannot be told."""
    if isinstance(node, Leaf) and isinstance(node.constant, str):
        budget.spend(len(node.constant))
        return [Leaf(node.origin, letter) for letter in node.constant]
    if isinstance(node, Leaf) or node.rest is not None:
        return None
    budget.spend(len(node.items))
    return list(node.items) if isinstance(node, ListLines) else [Leaf(node.origin, key) for key in node.items]


# -- writing -----------------------------------------------------------------------------------------------------------
def put(node: Lines, key: Any, value: Lines, budget: Budget) -> None:
    """`node[key] = value`; a ConfigDict takes dicts and lists in as copies."""
    if isinstance(node, DictLines):
        if key is UNKNOWN:
            node.rest = node.rest or Leaf(value.origin)
        else:
            node.items[key] = adopted(value, budget) if node.is_config else value
    elif isinstance(node, ListLines):
        index = as_index(key)
        if index is None or (index < 0 and node.rest is not None):
            return
        if -len(node.items) <= index < len(node.items):
            node.items[index] = value


def update(node: DictLines, other: Lines, budget: Budget) -> None:
    """`node.update(other)`: a ConfigDict merges nested dicts, a dict replaces them."""
    if not isinstance(other, DictLines):
        node.rest = node.rest or Leaf(other.origin)
        return
    for key, value in list(other.items.items()):
        budget.spend()
        mine = node.items.get(key)
        merges = node.is_config and isinstance(value, DictLines) and value.is_dict
        if merges and isinstance(mine, DictLines) and (mine.is_config or not mine.is_dict):
            update(mine, value, budget)
        else:
            put(node, key, value, budget)
    node.rest = node.rest or other.rest


def extend(node: ListLines, other: Lines, budget: Budget) -> None:
    """`node.extend(other)`; what follows an unknown number of items has an unknown place."""
    more = members(other, budget)
    if node.rest is not None:
        of_one_kind = more is not None and all(item.origin == node.rest.origin for item in more)
        node.rest = node.rest if of_one_kind else Leaf(node.origin)
        return
    if more is None:
        more = list(other.items) if isinstance(other, ListLines) else []
        node.rest = Leaf(node.origin)
    node.items.extend(more)


def lists_below(node: Lines, budget: Budget) -> dict[int, ListLines]:
    """Every list in a value, by its id."""
    found: dict[int, ListLines] = {}
    waiting: list[Lines] = [node]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if isinstance(current, Leaf) or id(current) in seen:
            continue
        seen.add(id(current))
        budget.spend()
        if isinstance(current, ListLines):
            found[id(current)] = current
        waiting.extend(current.items if isinstance(current, ListLines) else current.items.values())
    return found


# -- copies ------------------------------------------------------------------------------------------------------------
def shallow(node: Lines, budget: Budget) -> Lines:
    """`copy.copy(node)`: the items are shared."""
    if isinstance(node, Leaf):
        return node
    budget.spend(len(node.items))
    if isinstance(node, ListLines):
        return ListLines(node.origin, list(node.items), node.is_tuple, node.rest)
    return DictLines(node.origin, dict(node.items), node.is_config, node.rest, node.is_dict)


def copied(node: Lines, budget: Budget, to_config: bool = False) -> Lines:
    """A copy that shares nothing but leaves, also not within itself: a dict used twice becomes two."""
    if isinstance(node, Leaf):
        return node
    budget.spend()
    if isinstance(node, ListLines):
        return ListLines(node.origin, [copied(v, budget, to_config) for v in node.items], node.is_tuple, node.rest)
    items = {key: copied(value, budget, to_config) for key, value in node.items.items()}
    return DictLines(node.origin, items, node.is_config or to_config, node.rest, node.is_dict)


def deep_copied(node: Lines, budget: Budget, memo: dict[int, Lines] | None = None) -> Lines:
    """`copy.deepcopy(node)`: a dict used twice is one in the copy too."""
    memo = {} if memo is None else memo
    if isinstance(node, Leaf) or id(node) in memo:
        return memo.get(id(node), node)
    result = memo[id(node)] = shallow(node, budget)
    if isinstance(result, ListLines):
        result.items = [deep_copied(value, budget, memo) for value in result.items]
    elif isinstance(result, DictLines):
        result.items = {key: deep_copied(value, budget, memo) for key, value in result.items.items()}
    return result


def adopted(node: Lines, budget: Budget) -> Lines:
    """What a ConfigDict keeps of a value put into it: ConfigDicts themselves, copies of dicts, lists and tuples."""
    if isinstance(node, Leaf) or (isinstance(node, DictLines) and (node.is_config or not node.is_dict)):
        return node
    budget.spend()
    if isinstance(node, ListLines):
        return ListLines(node.origin, [adopted(value, budget) for value in node.items], node.is_tuple, node.rest)
    items = {key: adopted(value, budget) for key, value in node.items.items()}
    return DictLines(node.origin, items, True, node.rest)


# -- inheritance -------------------------------------------------------------------------------------------------------
def merged(node: Lines, base: Lines, list_keys: bool = False) -> Lines:
    """`base` overridden by `node`, by the rules of `config.merge`; a dict that is merged was created in the base."""
    if not isinstance(node, DictLines) or not node.is_dict:
        return node
    delete = node.items.get(DELETE_KEY)
    if delete is not None and truth(delete) is not False:
        items = {key: value for key, value in node.items.items() if key != DELETE_KEY}
        return DictLines(node.origin, items, True, node.rest)
    if isinstance(base, Leaf) and base.constant is UNKNOWN:
        base = opaque(base.origin)
    if isinstance(base, DictLines):
        kept = {key: value for key, value in node.items.items() if key != DELETE_KEY}
        items = merged_items(kept, base, list_keys)
        return DictLines(base.origin, items, True, node.rest or base.rest, base.is_dict or not list_keys)
    if list_keys and isinstance(base, ListLines):
        return _merged_list(node, base)
    return node


def merged_items(items: dict[Any, Lines], base: DictLines, list_keys: bool = False) -> dict[Any, Lines]:
    """The items of a dict over those of another, as a new dict."""
    result = dict(base.items)
    for key, value in items.items():
        below = base.items.get(key, base.rest)
        result[key] = value if below is None else merged(value, below, list_keys)
    return result


def _merged_list(node: DictLines, base: ListLines) -> ListLines:
    items = list(base.items)
    for key, value in node.items.items():
        index = as_index(key)
        if index is None or index < 0:
            continue
        if base.rest is not None and index < LONGEST:
            items += [base.rest] * (index + 1 - len(items))
        if index < len(items):
            items[index] = merged(value, items[index], True)
    return ListLines(base.origin, items, base.is_tuple, base.rest)
