"""What the steps of a migration share: the old settings that are left, the new ones, and the notes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Tree = dict[Any, Any]


class Note(NamedTuple):
    """An old setting that is not carried over exactly: which, why, and what to do."""

    key: str
    why: str
    todo: str

    def __str__(self) -> str:
        return f"{self.key}: {self.why} {self.todo}".rstrip()


class Job:
    """One migration. Steps take what they know out of `old` and put what it means today into `new`; `present` has the
    settings that are today's already.

    `by_epoch` and `horizon` are unit and length of the training; `horizon` is None where the config does not say it.
    """

    def __init__(self, old: Tree, present: Tree) -> None:
        self.old = old
        self.present = present
        self.new: Tree = {}
        self.notes: list[Note] = []
        self.by_epoch = True
        self.horizon: int | None = None

    def take(self, key: str, default: Any = None) -> Any:
        """Remove and return a top-level setting."""
        return self.old.pop(key, default)

    def take_dict(self, key: str) -> Tree | None:
        """A top-level setting that should be a dict; anything else counts as none, with a note unless it is None."""
        value = self.old.pop(key, None)
        if value is not None and not isinstance(value, dict):
            self.note(key, f"it is {value!r}, and a dict is expected.", "Left out.")
            return None
        return value

    def note(self, key: str, why: str, todo: str = "") -> None:
        self.notes.append(Note(key, why, todo))

    def leftovers(self, key: str, options: Tree, why: str, todo: str = "") -> None:
        """Note each option that no step has taken."""
        for name, value in options.items():
            self.note(f"{key}.{name}", f"{short(value)} {why}", todo)

    def section(self, *keys: str) -> Tree:
        """A dict of the new config, made when it is not there."""
        node = self.new
        for key in keys:
            node = node.setdefault(key, {})
        return node

    @property
    def unit(self) -> str:
        return "epochs" if self.by_epoch else "iterations"


def moved(source: Tree, names: Iterable[str] | dict[str, str]) -> Tree:
    """The named options that `source` has, taken out of it; a dict gives their new names."""
    renamed = names if isinstance(names, dict) else {name: name for name in names}
    return {new: source.pop(old) for old, new in renamed.items() if old in source}


def short(value: Any) -> str:
    """`value` on one line of a message."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def copied(value: Any) -> Any:
    """`value` with plain dicts and lists of its own."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in dict.items(value)}
    return type(value)(map(copied, value)) if type(value) in (list, tuple) else value
