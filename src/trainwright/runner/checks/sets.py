"""Validation and test sets: names that loaders and evaluators share, lists, and losses that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainwright import registry
from trainwright.base.errors import ConfigError
from trainwright.engine.loops.losses import require_loss_mode
from trainwright.engine.loops.named import (
    is_loader,
    is_named,
    is_named_evaluator,
    list_error,
    name_errors,
    unnamed_error,
)
from trainwright.runner.checks.components import has_our_sets
from trainwright.runner.checks.problem import Problem
from trainwright.runner.checks.resolve import resolve

Spec = Mapping[str, Any]


def check_sets(spec: Spec) -> Iterator[Problem]:
    """What ValLoop and TestLoop would refuse; a loop with a constructor of its own reads its arguments as it likes."""
    for part in ("val", "test"):
        if has_our_sets(spec, part):
            yield from _check_names(part, spec[f"{part}_dataloader"], spec[f"{part}_evaluator"])
            yield from _check_loss(part, spec[f"{part}_cfg"], spec["model"])


def _check_names(part: str, loaders: Any, evaluator: Any) -> Iterator[Problem]:
    if isinstance(loaders, (list, tuple)) and any(is_loader(item) for item in loaders):
        yield Problem((f"{part}_dataloader",), list_error("ValLoop" if part == "val" else "TestLoop", part))
    elif is_named(loaders):
        for path, text in name_errors(loaders, evaluator, part):
            yield Problem(path, text)
    elif is_named_evaluator(evaluator) and loaders is not None:
        yield Problem((f"{part}_evaluator",), unnamed_error(evaluator, part))


def _check_loss(part: str, cfg: Any, model: Any) -> Iterator[Problem]:
    if not isinstance(cfg, dict) or not dict.get(cfg, "loss") or not isinstance(model, dict):
        return
    kind = resolve((), dict.get(model, "type"), registry.MODELS).target
    if isinstance(kind, type):
        try:
            require_loss_mode(kind, f"{part}_cfg=dict(loss=True)")
        except ConfigError as error:
            yield Problem((f"{part}_cfg", "loss"), str(error))
