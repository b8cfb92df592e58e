"""What a strategy promises, as some eighty behaviours that it is asked for in real processes.

In a test file of a project with a strategy of its own::

    from trainwright.testing.conformance import conformance_tests

    TestMine = conformance_tests({"type": "MyStrategy"}, n_ranks=2, gaps={"compiled": "forward is traced already"})

gives one pytest test a behaviour. Nothing here needs pytest until such a test runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainwright.base.errors import ConfigError
from trainwright.testing.conformance.behaviour import BEHAVIOURS, Behaviour
from trainwright.testing.conformance.columns import COLUMNS, Column
from trainwright.testing.conformance.subject import Subject
from trainwright.testing.conformance.suite import UnexpectedPassError, ask, checked_gaps, chosen

__all__ = [
    "BEHAVIOURS",
    "COLUMNS",
    "Behaviour",
    "Column",
    "Subject",
    "UnexpectedPassError",
    "ask",
    "chosen",
    "conformance_tests",
]


def conformance_tests(
    strategy: Mapping[str, Any] | None | Column,
    n_ranks: int = 1,
    *,
    gaps: Mapping[str, str] | None = None,
    behaviours: str = "*",
    quick: bool | None = None,
    **subject: Any,
) -> type:
    """A class for pytest to collect: a test ``test_<behaviour>`` for each that so many ranks can be asked for.

    `strategy` is the config that a Runner would get; it runs on `n_ranks` gloo processes, forked for each behaviour.
    `gaps` names behaviours that it does not have, each with the reason: such a test is reported as expected to fail,
    and fails where the behaviour is there after all. `behaviours` is a pattern on their names; `quick` takes the short
    half (True), or the other one. Further keywords are fields of :class:`Subject`: ``n_data_ranks`` where not all ranks
    see different data, ``optim_wrapper`` for settings of every optimizer wrapper, ``settings`` for those of the
    strategy that single behaviours need, ``timeout_s``.
    """
    column = strategy if isinstance(strategy, Column) else Column("", strategy, n_ranks, gaps=gaps or {}, **subject)
    if isinstance(strategy, Column) and (gaps or subject or n_ranks != 1):
        raise ConfigError("conformance_tests takes a Column as it is: its ranks, gaps and settings are its own fields.")
    known = checked_gaps(column.gaps)
    size = column.n_data_ranks or column.n_ranks
    asked = [one for one in chosen(behaviours, quick) if one.applies_to(column.n_ranks, size)]
    return type(
        "ConformanceTests", (), {f"test_{one.name}": _test_of(one, column, known.get(one.name)) for one in asked}
    )


def _test_of(behaviour: Behaviour, column: Column, gap: str | None) -> Any:
    def test(self: Any, tmp_path: Path) -> None:
        if not column.can_be_asked:
            import pytest

            pytest.skip(f"needs {column.needs}")
        if gap is None:
            ask(column.subject(tmp_path), behaviour.name)
            return
        try:
            ask(column.subject(tmp_path), behaviour.name)
        except Exception:  # noqa: BLE001 - however it shows
            import pytest

            pytest.xfail(gap)
        raise UnexpectedPassError(f"{behaviour.name} is there, and named as a gap ({gap}): take it out of gaps.")

    test.__doc__ = behaviour.promise
    return test
