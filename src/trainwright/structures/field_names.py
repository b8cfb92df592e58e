"""The names of an element's fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from typing import Any


class FieldNames(MutableSet[str]):
    """A set that keeps the order in which names came, so that elements are shown and joined in it in every process."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = dict.fromkeys(names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str) -> None:
        """Add a name; one that is there keeps its place."""
        self._names[name] = None

    def discard(self, name: str) -> None:
        """Take a name out, if it is there."""
        self._names.pop(name, None)

    @classmethod
    def _from_iterable(cls, names: Iterable[Any]) -> FieldNames:  # type: ignore[override]
        return cls(names)

    def __repr__(self) -> str:
        return "{%s}" % ", ".join(map(repr, self._names))  # noqa: UP031 - braces in an f-string are doubled
