"""What differs between two configs by meaning: changed settings, not changed lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from types import FunctionType
from typing import Any, Literal, NamedTuple

from trainwright.base.lazy import LazyObject

Kind = Literal["added", "removed", "changed"]
Path = tuple[Any, ...]
Tree = dict[Any, Any]
_MAX_WHOLE = 12  # a list of plain values up to this length is shown as one value, a longer one by item


class Change(NamedTuple):
    """One setting that differs. `path` has the keys and list indices that lead to it: in the second config, or in the
    first for what was removed. An added or removed dict or list is one change.
    """

    path: Path
    kind: Kind
    old: Any
    new: Any


class Line(NamedTuple):
    """One line of a rendered difference; `mark` is "-", "+" or " " for the headings between them."""

    mark: str
    text: str


def diff(a: Tree, b: Tree) -> list[Change]:
    """The changes that lead from tree `a` to tree `b`, in the order of `b`, what was removed first.

    The order of keys does not matter. A class that is imported lazily equals the string of its dotted name. List items
    are aligned, so that an inserted step is one added item. Values of different types differ (1 and 1.0, a list and a
    tuple); NaN equals NaN.
    """
    return list(_differences((), a, b))


def render(changes: Sequence[Change]) -> str:
    """The changes as a tree in plain text, `- old` and `+ new` below the keys that lead to them; "" for none."""
    return "".join(f"{line.mark} {line.text}".rstrip() + "\n" for line in render_lines(changes))


def render_lines(changes: Sequence[Change]) -> list[Line]:
    """The lines of :func:`render`."""
    root: dict[Any, Any] = {}
    for change in changes:
        node = root
        for key in change.path[:-1]:
            node = node.setdefault((key, None), {})
        node[change.path[-1], change.kind] = change
    return list(_tree_lines(root, 0))


# -- comparing ---------------------------------------------------------------------------------------------------------
def _differences(path: Path, old: Any, new: Any) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _dict_differences(path, old, new)
    elif _same_sequence(old, new) and not _is_short_leaf(old, new):
        yield from _list_differences(path, old, new)
    elif canonical(old) != canonical(new):
        yield Change(path, "changed", old, new)


def _dict_differences(path: Path, old: Tree, new: Tree) -> Iterator[Change]:
    for key, value in dict.items(old):
        if not dict.__contains__(new, key):
            yield Change((*path, key), "removed", value, None)
    for key, value in dict.items(new):
        if dict.__contains__(old, key):
            yield from _differences((*path, key), dict.__getitem__(old, key), value)
        else:
            yield Change((*path, key), "added", None, value)


def _list_differences(path: Path, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Change]:
    before, after = [canonical(item) for item in old], [canonical(item) for item in new]
    for i1, i2, j1, j2 in _unequal_blocks(before, after):
        i, j = i1, j1
        for m, n in [*_pairs(old[i1:i2], new[j1:j2]), (i2 - i1, j2 - j1)]:  # what goes and comes before each pair
            yield from (Change((*path, k), "removed", old[k], None) for k in range(i, i1 + m))
            yield from (Change((*path, k), "added", None, new[k]) for k in range(j, j1 + n))
            if i1 + m < i2:
                yield from _differences((*path, j1 + n), old[i1 + m], new[j1 + n])
            i, j = i1 + m + 1, j1 + n + 1


def _unequal_blocks(before: list[Any], after: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    from difflib import SequenceMatcher

    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield i1, i2, j1, j2


def _pairs(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[int, int]]:
    """Items that are one item with another content: dicts of one `type`; where the lengths agree, all by place."""
    from difflib import SequenceMatcher

    before, after = [_label(item, i) for i, item in enumerate(old)], [_label(item, i) for i, item in enumerate(new)]
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    pairs = [(block.a + n, block.b + n) for block in blocks for n in range(block.size)]
    if not pairs and len(old) == len(new):
        return [(i, i) for i in range(len(old))]
    return pairs


def _label(item: Any, place: int) -> Any:
    """What makes two unequal items the same one."""
    if isinstance(item, dict):
        return "type", canonical(dict.get(item, "type"))
    return (type(item).__name__, place) if isinstance(item, (list, tuple)) else ("value", place)


def _same_sequence(old: Any, new: Any) -> bool:
    return any(isinstance(old, kind) and isinstance(new, kind) for kind in (list, tuple))


def _is_short_leaf(old: Sequence[Any], new: Sequence[Any]) -> bool:
    items = [*old, *new]
    return max(len(old), len(new)) <= _MAX_WHOLE and not any(isinstance(i, (dict, list, tuple)) for i in items)


def canonical(value: Any) -> Any:
    """A hashable value that is equal for values of one meaning."""
    kind = type(value)
    if kind is str or isinstance(value, str):
        return "text", str.__str__(value)
    if isinstance(value, LazyObject):
        return "text", value.dotted
    if isinstance(value, dict):
        return "dict", frozenset((canonical(key), canonical(item)) for key, item in dict.items(value))
    if isinstance(value, (list, tuple)):
        return "list" if isinstance(value, list) else "tuple", tuple(map(canonical, value))
    if isinstance(value, (set, frozenset)):
        return "set", frozenset(map(canonical, value))
    if isinstance(value, slice):
        return "slice", canonical((value.start, value.stop, value.step))
    if isinstance(value, (float, complex)):
        return kind.__name__, repr(value)  # nan is nan, and 1.0 is not 1
    if value is None or isinstance(value, (bool, bytes)):
        return kind.__name__, value
    if isinstance(value, int):
        return "int", int(value)
    return _canonical_object(value)


def _canonical_object(value: Any) -> Any:
    if isinstance(value, Enum):
        return "text", f"{type(value).__module__}.{type(value).__qualname__}.{value.name}"
    if type(value) is partial:
        return "partial", canonical(value.func), canonical(value.args), canonical(value.keywords)
    name, module = getattr(value, "__qualname__", None), getattr(value, "__module__", None)
    if isinstance(name, str) and isinstance(module, str):  # a class or a function: by name, as it is written to text
        return "text", f"{module}.{name}"
    try:
        hash(value)
    except TypeError:
        return type(value).__name__, repr(value)
    return type(value).__name__, value


# -- writing -----------------------------------------------------------------------------------------------------------
def _tree_lines(node: dict[Any, Any], depth: int) -> Iterator[Line]:
    pad = "  " * depth
    for (key, kind), below in node.items():
        if isinstance(below, Change):
            yield from _change_lines(below, pad)
            continue
        names = [key]
        while kind is None and len(below) == 1:  # a chain of single keys is one heading
            (inner, inner_kind), deeper = next(iter(below.items()))
            if inner_kind is not None:
                break
            names.append(inner)
            below = deeper
        yield Line(" ", f"{pad}{path_text(names)}")
        yield from _tree_lines(below, depth + 1)


def _change_lines(change: Change, pad: str) -> Iterator[Line]:
    name = path_text(change.path[-1:])
    if change.kind != "added":
        yield from _value_lines("-", f"{pad}{name} = ", change.old, "")
    if change.kind != "removed":
        yield from _value_lines("+", f"{pad}{name} = ", change.new, _remark(change))


def _value_lines(mark: str, head: str, value: Any, remark: str) -> Iterator[Line]:
    indent = " " * (len(head) - len(head.lstrip()))
    first, *rest = (head + show(value, len(head))).split("\n")
    lines = [first, *(indent + line for line in rest)]
    yield from (Line(mark, line) for line in [*lines[:-1], lines[-1] + remark])


def _remark(change: Change) -> str:
    """A word on two values that look much alike."""
    if change.kind != "changed" or type(change.old) is type(change.new):
        return ""
    old, new = change.old, change.new
    sequences = isinstance(old, (list, tuple)) and isinstance(new, (list, tuple))
    if sequences and canonical(list(old)) == canonical(list(new)):
        return f"  # a {type(new).__name__}, was a {type(old).__name__}"
    return ""


def show(value: Any, used: int = 0) -> str:
    """`value` as Python; on several lines where one would be too long beside `used` columns."""
    from trainwright.config.writing import format_config

    name = "k" * max(used - len(" = "), 1)  # a key that takes as much room
    _, _, text = format_config({name: _by_name(value)}).partition(f"{name} = ")
    return text.rstrip("\n")


def _by_name(value: Any) -> Any:
    """`value` with the dotted names of its lazy objects, classes and functions in their place."""
    if isinstance(value, LazyObject):
        return value.dotted
    if isinstance(value, (type, FunctionType)):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, dict):
        return {key: _by_name(item) for key, item in dict.items(value)}
    if type(value) in (list, tuple):
        return type(value)(map(_by_name, value))
    return value


def path_text(path: Iterable[Any]) -> str:
    """`model.layers[0]["odd key"]`."""
    text = ""
    for key in path:
        if isinstance(key, int) and not isinstance(key, bool):
            text += f"[{key}]"
        elif isinstance(key, str) and key.isidentifier():
            text += f".{key}" if text else key
        else:
            text += f"[{key!r}]"
    return text
