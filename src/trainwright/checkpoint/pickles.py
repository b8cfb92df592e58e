"""A pickle as data: its instructions followed without calling anything that it names.

What the instructions would have called stays a :class:`Call`: the name, the arguments, the items and the state. Whoever
reads the result decides what each of them stands for. Nothing is imported, looked up, or run.
"""

from __future__ import annotations

import pickletools
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAX_STEPS = 20_000_000  # each may cost some hundred bytes of memory
MAX_INT_BITS = 4096
_MAX_NAME = 300
_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, UnicodeError, RecursionError)


class PickleError(ValueError):
    """A pickle that is damaged, or that asks for more than data."""


class ForbiddenName(PickleError):
    """A pickle that names something which is not on the list of its reader."""


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A class or function that a pickle names; it was not looked up."""

    dotted: str


@dataclass(eq=False, slots=True)
class Call:
    """An object that a pickle would have made: what it would have called, with which arguments; then what it would have
    put in: (key, value) pairs, list items, and states handed to ``__setstate__``."""

    name: str
    args: tuple[Any, ...]
    pairs: list[tuple[Any, Any]] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """Something that lies outside of the pickle, such as a tensor's numbers, by the key the pickle has for it."""

    key: Any


def parse(stream: Any, allowed: Container[str]) -> Any:
    """The value of the pickle that begins here in ``stream`` (an mmap or BytesIO, which never read more than there is).

    Raises PickleError for names that are not ``allowed``, and for anything no sound pickle of data has. Afterwards the
    stream stands behind it.
    """
    try:
        return _Machine(allowed).run(stream)
    except PickleError:
        raise
    except _ERRORS as error:
        raise PickleError(f"its pickle is damaged ({type(error).__name__}: {str(error)[:100]})") from error


class _Machine:
    """A stack, the marks in it, and the values that may be referred to again."""

    def __init__(self, allowed: Container[str]) -> None:
        self._allowed = allowed
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._protocol = 0

    def run(self, stream: BinaryIO) -> Any:
        for n, (opcode, arg, _) in enumerate(pickletools.genops(stream)):
            if n > MAX_STEPS:
                raise PickleError(f"its pickle has more than {MAX_STEPS:,} steps")
            name = opcode.name
            if name == "STOP":
                break
            if name in _VALUES:
                if isinstance(arg, int) and arg.bit_length() > MAX_INT_BITS:
                    raise PickleError(f"its pickle has an integer of {arg.bit_length():,} bits")
                self._stack.append(arg)
            else:
                step = _STEPS.get(name)
                if step is None:
                    raise PickleError(f"its pickle uses the instruction {name}, which checkpoints never have")
                step(self, arg)
        if len(self._stack) != 1 or self._below:
            raise PickleError("its pickle ends in the middle")
        return self._stack.pop()

    # the stack -------------------------------------------------------------------------------------------------------

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self, _: Any) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _drop_to_mark(self, _: Any) -> None:
        self._to_mark()

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    def _tuple(self, n: int) -> None:
        items = tuple(self._stack[-n:])
        if len(items) != n:
            raise PickleError("its pickle is damaged")
        self._stack[-n:] = [items]

    def _put(self, at: int | None) -> None:
        self._memo[len(self._memo) if at is None else int(at)] = self._stack[-1]

    def _protocol_is(self, number: int) -> None:
        if number > 5:
            raise PickleError(f"its pickle is of protocol {number}")
        self._protocol = number

    # containers ------------------------------------------------------------------------------------------------------

    def _set_pairs(self, items: list[Any]) -> None:
        pairs = list(zip(items[::2], items[1::2], strict=True))
        target = self._stack[-1]
        if type(target) is dict:
            target.update(pairs)
        elif type(target) is Call:
            target.pairs.extend(pairs)
        else:
            raise PickleError(f"its pickle sets items of a {type(target).__name__}")

    def _add_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is list:
            target.extend(items)
        elif type(target) is set:
            target.update(items)
        elif type(target) is Call:
            target.items.extend(items)
        else:
            raise PickleError(f"its pickle appends to a {type(target).__name__}")

    def _dict_of(self, items: list[Any]) -> dict[Any, Any]:
        return dict(zip(items[::2], items[1::2], strict=True))

    # what would have been called ------------------------------------------------------------------------------------

    def _name(self, module: Any, name: Any) -> Name:
        if type(module) is not str or type(name) is not str:
            raise PickleError("its pickle names something that is no text")
        if self._protocol < 3:
            if (module, name) in NAME_MAPPING:
                module, name = NAME_MAPPING[(module, name)]
            else:
                module = IMPORT_MAPPING.get(module, module)
        dotted = f"{module}.{name}"
        if dotted not in self._allowed:
            raise ForbiddenName(f"it names {dotted[:_MAX_NAME]}")
        return Name(dotted)

    def _global(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self._push(self._name(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push(self._name(module, name))

    def _call(self, called: Any, args: Any) -> None:
        if type(called) is not Name or type(args) is not tuple:
            raise PickleError(f"its pickle calls a {type(called).__name__}")
        self._push(Call(called.dotted, args))

    def _reduce(self, _: Any) -> None:
        args = self._stack.pop()
        self._call(self._stack.pop(), args)

    def _new_with_keywords(self, _: Any) -> None:
        keywords, args = self._stack.pop(), self._stack.pop()
        if keywords:
            raise PickleError("its pickle calls with keywords")
        self._call(self._stack.pop(), args)

    def _instance(self, both: str) -> None:
        args = tuple(self._to_mark())
        module, _, name = both.partition(" ")
        self._call(self._name(module, name), args)

    def _object(self, _: Any) -> None:
        called, *args = self._to_mark()
        self._call(called, tuple(args))

    def _build(self, _: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if type(target) is not Call:
            raise PickleError(f"its pickle sets the state of a {type(target).__name__}")
        target.states.append(state)


_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8")
_VALUES = frozenset((*_INTEGERS, *_TEXTS, *_BYTES, "FLOAT", "BINFLOAT"))
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine._protocol_is,
    "FRAME": lambda m, _: None,
    "NONE": lambda m, _: m._push(None),
    "NEWTRUE": lambda m, _: m._push(True),
    "NEWFALSE": lambda m, _: m._push(False),
    "EMPTY_LIST": lambda m, _: m._push([]),
    "EMPTY_TUPLE": lambda m, _: m._push(()),
    "EMPTY_DICT": lambda m, _: m._push({}),
    "EMPTY_SET": lambda m, _: m._push(set()),
    "MARK": _Machine._mark,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._drop_to_mark,
    "DUP": lambda m, _: m._push(m._stack[-1]),
    "TUPLE": lambda m, _: m._push(tuple(m._to_mark())),
    "TUPLE1": lambda m, _: m._tuple(1),
    "TUPLE2": lambda m, _: m._tuple(2),
    "TUPLE3": lambda m, _: m._tuple(3),
    "LIST": lambda m, _: m._push(list(m._to_mark())),
    "DICT": lambda m, _: m._push(m._dict_of(m._to_mark())),
    "FROZENSET": lambda m, _: m._push(frozenset(m._to_mark())),
    "APPEND": lambda m, _: m._add_items([m._stack.pop()]),
    "APPENDS": lambda m, _: m._add_items(m._to_mark()),
    "ADDITEMS": lambda m, _: m._add_items(m._to_mark()),
    "SETITEM": lambda m, _: m._set_pairs([m._stack.pop(), m._stack.pop()][::-1]),
    "SETITEMS": lambda m, _: m._set_pairs(m._to_mark()),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, at: m._push(m._memo[int(at)])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine._put),
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._reduce,
    "NEWOBJ_EX": _Machine._new_with_keywords,
    "INST": _Machine._instance,
    "OBJ": _Machine._object,
    "BUILD": _Machine._build,
    "BINPERSID": lambda m, _: m._push(Stored(m._stack.pop())),
}
