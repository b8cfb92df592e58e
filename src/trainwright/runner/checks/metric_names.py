"""Metric names that hooks and schedulers wait for, held against those that validation will give."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from trainwright import registry
from trainwright.base.text import did_you_mean
from trainwright.engine import ValLoop
from trainwright.engine.loops.named import is_named
from trainwright.evaluation import BaseMetric, Evaluator
from trainwright.evaluation.names import Names, names_of
from trainwright.hooks import CheckpointHook
from trainwright.registry import Registry
from trainwright.runner.checks.components import evaluators, hooks, numbered, schedulers
from trainwright.runner.checks.problem import Problem, Where, warning
from trainwright.runner.checks.resolve import resolve

Spec = Mapping[str, Any]


class Wanted(NamedTuple):
    """A metric name that somebody waits for, where it stands, and as what."""

    name: str
    where: Where
    setting: str


def check_metric_names(spec: Spec) -> Iterator[Problem]:
    """`save_best`, and the `monitor` of EarlyStoppingHook and of the ReduceOnPlateau schedulers."""
    wanted = [*_of_hooks(spec), *_of_schedulers(spec)]
    if not wanted or any(spec[name] is None for name in ("val_dataloader", "val_cfg", "val_evaluator")):
        for item in wanted:
            text = "has no effect: without val_dataloader, val_cfg and val_evaluator no metric is computed."
            yield warning(item.where, f"{item.setting}={item.name!r} {text}")
        return
    given = names_given(spec)
    if given is None:
        return
    known = [name for part in given for name in part.names or ()]
    others = sorted(f"{part.prefix}/..." for part in given if part.names is None)
    for item in wanted:
        # A model may put losses of any name behind its predictions; `loss` alone is the sum that is asked for.
        may_be_a_term = "loss" in item.name and "/" not in item.name and item.name != "loss"
        if not may_be_a_term and not any(part.has(item.name) for part in given):
            hint = did_you_mean(item.name, known)
            if not hint and "loss" in item.name and not _gives_losses(spec["val_cfg"]):
                hint = " To have the losses of the model too: val_cfg=dict(loss=True)."
            yield Problem(
                item.where,
                f"{item.setting}={item.name!r} is not among the metrics that val_evaluator gives: "
                f"{', '.join([*known, *others])}.{hint}",
            )


def names_given(spec: Spec) -> list[Names] | None:
    """What is known of the names of each metric and loss of a validation; None when one may have any name."""
    if not _is_plain(spec["val_cfg"], registry.LOOPS, ValLoop, "run"):
        return None
    loaders = spec["val_dataloader"]
    sets = list(loaders) if is_named(loaders) else [None]
    found: list[Names] = []
    for _, evaluator, name in evaluators(spec, "val"):
        for given in _of_evaluator(evaluator):
            found += [_in_set(given, one) for one in (sets if name is None else [name])]
    if _gives_losses(spec["val_cfg"]):
        found += [_in_set(Names(["loss"], any_flat=""), name) for name in sets]
    return found if all(names.is_known for names in found) else None


def _of_evaluator(evaluator: Any) -> Iterator[Names]:
    if isinstance(evaluator, Evaluator) or (isinstance(evaluator, dict) and "metrics" in evaluator):
        if not _is_plain(evaluator, registry.EVALUATOR, Evaluator, "evaluate"):
            yield Names()
            return
        evaluator = dict.get(evaluator, "metrics") if isinstance(evaluator, dict) else evaluator.metrics
    for _, metric in numbered((), evaluator):
        yield _names(metric)


def _in_set(given: Names, name: str | None) -> Names:
    """The names as a validation with several sets gives them."""
    if name is None:
        return given
    return Names(
        None if given.names is None else [f"{name}/{metric}" for metric in given.names],
        f"{name}/{given.prefix}" if given.prefix else name,
        None if given.any_flat is None else f"{name}/",
    )


def _gives_losses(val_cfg: Any) -> bool:
    return bool(dict.get(val_cfg, "loss") if isinstance(val_cfg, dict) else getattr(val_cfg, "loss", False))


def _is_plain(given: Any, reg: Registry, base: type, method: str) -> bool:
    """Whether a config or an object is of the class `base`, or of one that leaves `method` as it is."""
    kind = resolve((), dict.get(given, "type", base), reg).target if isinstance(given, dict) else type(given)
    return isinstance(kind, type) and issubclass(kind, base) and getattr(kind, method) is getattr(base, method)


def _names(metric: Any) -> Names:
    if isinstance(metric, BaseMetric):
        return Names(None, metric.prefix)
    if not isinstance(metric, dict):
        return Names()
    kind = resolve((), dict.get(metric, "type"), registry.METRICS).target
    if not (isinstance(kind, type) and issubclass(kind, BaseMetric)):
        return Names()
    settings = {key: value for key, value in dict.items(metric) if key not in ("type", "_scope_")}
    try:
        return names_of(kind, BaseMetric, settings)
    except Exception:  # noqa: BLE001 - settings that a metric cannot say its names from are wrong, and reported as that
        return Names()


def _of_hooks(spec: Spec) -> Iterator[Wanted]:
    for where, hook in hooks(spec):
        if isinstance(hook, CheckpointHook):
            yield from (Wanted(best.metric, where, "save_best") for best in hook.bests if best.metric != "auto")
        if not isinstance(hook, dict):
            continue
        kind = resolve((), dict.get(hook, "type"), registry.HOOKS).target
        if isinstance(kind, type) and issubclass(kind, CheckpointHook):
            for place, name in numbered((*where, "save_best"), dict.get(hook, "save_best")):
                if isinstance(name, str) and name != "auto":
                    yield Wanted(name, place, "save_best")
        elif _is_called(kind, "EarlyStoppingHook"):
            yield from _monitor(where, hook, kind)


def _of_schedulers(spec: Spec) -> Iterator[Wanted]:
    for part in schedulers(spec):
        if not isinstance(part.cfg, dict):
            continue
        kind = resolve((), part.kind, registry.PARAM_SCHEDULERS).target
        if _is_called(kind, "ReduceOnPlateau"):
            yield from _monitor(part.where, part.cfg, kind)


def _is_called(kind: Any, beginning: str) -> bool:
    return isinstance(kind, type) and any(cls.__name__.startswith(beginning) for cls in kind.__mro__)


def _monitor(where: Where, cfg: dict[Any, Any], kind: Any) -> Iterator[Wanted]:
    """The metric that is watched, as it is set or by default."""
    default = inspect.signature(kind).parameters.get("monitor")
    name = dict.get(cfg, "monitor", None if default is None else default.default)
    if isinstance(name, str):
        yield Wanted(name, (*where, "monitor") if "monitor" in cfg else where, "monitor")
