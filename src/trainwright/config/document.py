"""What the reader needs of a parsed file, whatever its format, and how it looks up values of the base."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from trainwright.base.errors import ConfigError
from trainwright.base.text import did_you_mean
from trainwright.config.config_dict import ConfigDict

BASE_KEY = "_base_"


class Document(Protocol):
    """A parsed config file whose bases are not read yet."""

    @property
    def bases(self) -> list[str]:
        """What `_base_` names, as written."""

    @property
    def base_line(self) -> int | None:
        """Line of `_base_`, if there is one."""

    def evaluate(self, base: ConfigDict) -> dict[Any, Any]:
        """The file's own keys, given its merged bases."""


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
                raise ConfigError(f"{{{{ {BASE_KEY}.{dotted} }}}}: there is no key {part!r} in {where}.{hint}")
            node = node[part]
        return node

    return lookup
