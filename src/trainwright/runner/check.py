"""Everything about a run that can be known to be wrong before anything is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from trainwright.registry import DefaultScope
from trainwright.runner.checks import classes, files, keys, metric_names, parts, schedules, sets
from trainwright.runner.checks.components import components
from trainwright.runner.checks.keys import raw
from trainwright.runner.checks.problem import Problem, dotted, error_of, with_origins
from trainwright.runner.checks.resolve import check_scope
from trainwright.runner.spec import NAMES

__all__ = ["Problem", "find_problems", "is_whole", "runner_arguments", "validate", "whole"]

_whole: ContextVar[Any] = ContextVar("the config that a runner is made from", default=None)


def validate(cfg: Any) -> list[Problem]:
    """All that ``Runner.from_cfg(cfg)`` would refuse or warn of.

    Nothing is built, no file is written and no other machine is asked; classes are imported.
    """
    return find_problems(keys.spec_of(cfg), cfg, has_all_keys=True)


def find_problems(
    spec: Mapping[str, Any], cfg: Any, *, has_all_keys: bool = False, reach_out: bool = False
) -> list[Problem]:
    """What is wrong with a value for each key that Runner reads.

    `cfg` knows where the values were written; with `has_all_keys` it is the whole config that they come from, and its
    other keys are looked at too. With `reach_out` checkpoints at URLs are asked for.
    """
    spec = dict(spec)
    found = list(keys.check_names(cfg)) if has_all_keys else []
    scope = spec["default_scope"]
    with DefaultScope.overwrite_default_scope(scope if isinstance(scope, str) else None):
        found += parts.check_parts(spec)
        found += keys.check_types(spec)
        found += check_scope(spec["default_scope"])
        found += parts.check_settings(spec)
        found += parts.check_train_cfg(spec)
        found += sets.check_sets(spec)
        found += files.check_checkpoints(spec, reach_out)
        for component in components(spec):
            found += classes.check_component(component)
        found += metric_names.check_metric_names(spec)
        found += files.check_weights(spec)
        found += files.check_data(spec)
        found += schedules.check_schedules(spec)
    return _each_once(with_origins(found, cfg))


def _each_once(problems: list[Problem]) -> list[Problem]:
    """One problem for each line of a file: what one line puts to several places is wrong in all of them. What is found
    as an error is not told as a warning too.
    """
    first: dict[Any, Problem] = {}
    errors = {(problem.where, problem.message) for problem in problems if problem.level == "error"}
    for problem in problems:
        line = getattr(problem.origin, "line", None)
        place = problem.where if line is None else str(problem.origin)
        key = (place, problem.message, problem.level)
        if problem.level == "warning" and (problem.where, problem.message) in errors:
            continue
        if key not in first:
            first[key] = problem
        elif problem.where != first[key].where:
            first[key] = first[key]._replace(also=(*first[key].also, problem.where))
    return [_with_also(problem) for problem in first.values()]


def _with_also(problem: Problem) -> Problem:
    if not problem.also:
        return problem
    head, newline, rest = problem.message.partition("\n")
    return problem._replace(message=f"{head} (The same at {', '.join(map(dotted, problem.also))}.){newline}{rest}")


def refuse(problems: list[Problem]) -> list[Problem]:
    """Raise one error for all errors among the problems; returns the warnings when there are none."""
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        raise error_of(errors)
    return problems


def runner_arguments(cfg: Any) -> dict[str, Any]:
    """The arguments of Runner in a whole config, as they are: what is lazy in them is not imported.

    A config without what every run needs is refused, with everything else that is wrong with it.
    """
    tree = raw(cfg)
    if any(dict.get(tree, name) is None for name in ("model", "work_dir")):
        refuse(validate(cfg))
    return {name: dict.get(tree, name) for name in NAMES if name in tree}


@contextmanager
def whole(cfg: Any) -> Iterator[None]:
    """Within the block a runner that is given this very `cfg` is made from the whole of it."""
    token = _whole.set(cfg)
    try:
        yield
    finally:
        _whole.reset(token)


def is_whole(cfg: Any) -> bool:
    """Whether all keys of `cfg` are meant for the runner that is being made."""
    return cfg is not None and _whole.get() is cfg
