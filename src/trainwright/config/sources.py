"""What a config was read from: its files, how they name each other, and what was changed afterwards.

Kept for whoever asks where a value came from. Nothing is derived from it while a config is read.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Syntax = Literal["text", "import", "data"]


class SourceFile:
    """One file. `code` is its text after substitution, line by line the same; `base_keys[i]` is the dotted key of the
    base that the word `__tw_base_<i>__` in `code` stands for. `keys` are the top-level keys that the file's own
    evaluation left, for the import syntax with those that came from its bases.
    """

    __slots__ = ("base_keys", "bases", "code", "index", "keys", "path", "syntax", "text")

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self.code = text
        self.base_keys: list[str] = []
        self.syntax: Syntax = "text"
        self.bases: list[Base] = []
        self.keys: frozenset[Any] = frozenset()
        self.index: Any = None  # made by `provenance` when a line is asked for

    def chain(self) -> list[SourceFile]:
        """The files from the furthest base to this one, in the order they were read; what was read twice is twice."""
        return [file for base in self.bases for file in base.file.chain()] + [self]

    def chain_text(self) -> str:
        """The text of these files, each once and below its name."""
        files = {file.path: file.text for file in self.chain()}
        return "".join(f"{path}\n{text}\n" for path, text in files.items())


class Base(NamedTuple):
    """A base, and the line that names it. `imports` is None for `_base_`; for `with read_base():` it has pairs of a
    name in the base, or "*", and the name it gets here. `name` is how the base is named, as in "./base.py".
    """

    file: SourceFile
    line: int
    imports: tuple[tuple[str, str], ...] | None = None
    name: str = ""


class Override(NamedTuple):
    """A value that was set after reading, and what set it, such as `--cfg-options`."""

    keys: tuple[Any, ...]
    value: Any
    label: str
