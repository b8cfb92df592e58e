"""What the reader needs of a parsed file, whatever its format, and how it looks up values of the base."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from trainwright.base.errors import ConfigError, ConfigKeyError
from trainwright.base.text import did_you_mean
from trainwright.config.config_dict import ConfigDict
from trainwright.config.sources import Syntax

BASE_KEY = "_base_"
STAR = "*"


class BaseRequest(NamedTuple):
    """A base that a file asks for: `_base_ = "./a.py"`, or `from .a import b as c` within `with read_base():`.

    `imports` has pairs of a name in the base, or "*", and the name it gets; it is None for `_base_`. `block` tells the
    `with` blocks of a file apart.
    """

    name: str
    line: int
    imports: tuple[tuple[str, str], ...] | None = None
    block: int = 0


class Inherited:
    """What a file is given: `tree` is its `_base_`, `blocks` the names from each `with read_base():`, and `shown` its
    own path, as its `__file__`. Among the names, `hidden` are those of lazy imports, and `helpers` are no settings.
    """

    def __init__(self, shown: str) -> None:
        self.shown = shown
        self.tree = ConfigDict()
        self.blocks: dict[int, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        self.helpers: dict[str, Any] = {}


class Evaluated(NamedTuple):
    """What a file makes of that. `hidden` are the names of lazy imports, which are in `tree` too; `helpers` are modules
    and functions that a file which imports `*` from this one may use, and which are no settings.
    """

    tree: dict[Any, Any]
    hidden: frozenset[str] = frozenset()
    helpers: Mapping[str, Any] = {}


class Document(Protocol):
    """A parsed config file whose bases are not read yet."""

    syntax: Syntax
    requests: list[BaseRequest]

    def evaluate(self, inherited: Inherited) -> Evaluated:
        """The file's own keys, given its bases."""


def base_list(value: Any, filename: str, lineno: int | None) -> list[str]:
    """`_base_` as a list of paths."""
    bases = [value] if isinstance(value, str) else value
    if not isinstance(bases, (list, tuple)) or not all(isinstance(base, str) for base in bases):
        raise ConfigError(f"{BASE_KEY} must be a path or a list of paths, got {value!r}", filename, lineno)
    return list(bases)


def base_lookup(base: ConfigDict) -> Callable[[str], Any]:
    """A function from a dotted key to the value it has in `base`."""

    def lookup(dotted: str) -> Any:
        node: Any = base
        for i, part in enumerate(parts := dotted.split(".")):
            if not isinstance(node, dict) or part not in node:
                where = ".".join([BASE_KEY, *parts[:i]])
                hint = did_you_mean(part, node) if isinstance(node, dict) else ""
                raise ConfigKeyError(f"{{{{ {BASE_KEY}.{dotted} }}}}: there is no key {part!r} in {where}.{hint}")
            node = dict.__getitem__(node, part)
        return node

    return lookup
