"""One thing wrong with a config, and the error that many of them make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from trainwright.base.errors import ConfigError, ConfigKeyError, ConfigTypeError, RuleError

Where = tuple[Any, ...]
Level = Literal["error", "warning"]


class Problem(NamedTuple):
    """What is wrong, at which keys of the config, and the error it is raised as when it is the only one.

    `origin` is what set the value there, as `Config.origin` gives it; None where that is not known. `also` are other
    keys that the same line set to the same wrong value.
    """

    where: Where
    message: str
    level: Level = "error"
    error: type[Exception] = ConfigError
    origin: Any = None
    also: tuple[Where, ...] = ()

    @property
    def key(self) -> str:
        """The keys as they are written on the command line: `custom_hooks.0.interval`."""
        return dotted(self.where)

    def __str__(self) -> str:
        parts = (self.origin, self.key, self.message)
        return ": ".join(str(part) for part in parts if part not in (None, ""))


def dotted(where: Where) -> str:
    """Keys as one text: `custom_hooks.0.interval`."""
    return ".".join(map(str, where))


def warning(where: Where, message: str) -> Problem:
    """A problem that stops nothing."""
    return Problem(where, message, "warning")


@contextmanager
def caught(found: list[Problem], where: Where) -> Iterator[None]:
    """A ConfigError that leaves the block is added to `found`."""
    try:
        yield
    except ConfigError as error:
        found.append(Problem(where, str(error), error=type(error)))


def with_origins(problems: Iterable[Problem], cfg: Any) -> list[Problem]:
    """The problems with what set the values, as far as `cfg` knows; else with the config's file."""
    origin = getattr(cfg, "origin", None)
    file = getattr(cfg, "filename", None)
    return [p._replace(origin=(_nearest(origin, p.where) if callable(origin) else None) or file) for p in problems]


def _nearest(origin: Any, where: Where) -> Any:
    """The origin of the value, or of the innermost part around it that has one."""
    for n_keys in range(len(where), 0, -1):
        found = origin(where[:n_keys])
        if found is not None:
            return found
    return None


def error_of(problems: list[Problem]) -> Exception:
    """One error that lists them, one a line; a single one keeps its own type."""
    if len(problems) == 1:
        return _single(problems[0])
    kinds = {problem.error for problem in problems}
    kind = next((kind for kind in (RuleError, ConfigKeyError) if kinds == {kind}), ConfigTypeError)
    listed = "\n".join(str(problem).replace("\n", "\n    ") for problem in problems)
    return kind(f"the config has {len(problems)} problems:\n{listed}")


def _single(problem: Problem) -> Exception:
    error = problem.error(str(problem))
    if isinstance(error, ConfigError):
        error.filename, error.lineno = getattr(problem.origin, "file", None), getattr(problem.origin, "line", None)
    return error
