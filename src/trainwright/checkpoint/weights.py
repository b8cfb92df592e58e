"""Putting the weights of a checkpoint into a model."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from trainwright.base.defaults import defaults
from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint.report import LoadReport, compare
from trainwright.checkpoint.stored import StoredTensor
from trainwright.dist import laid_out_as

ReviseKeys = Sequence[tuple[str, str]]
MIN_LOADED = 0.01
STRIP_MODULE: ReviseKeys = [(r"^module\.", "")]


def weights_of(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model's part of a checkpoint: under ``state_dict``, under ``model``, or the whole of it."""
    for key in ("state_dict", "model"):
        if isinstance(checkpoint.get(key), Mapping):
            return checkpoint[key]  # type: ignore[no-any-return]
    return checkpoint


def revised(state: Mapping[str, Any], revise_keys: ReviseKeys) -> OrderedDict[str, Any]:
    """``state`` with each (pattern, replacement) applied to its names, in order."""
    result = OrderedDict(state)
    for pattern, replacement in revise_keys:
        result = OrderedDict((re.sub(pattern, replacement, name), value) for name, value in result.items())
    metadata = getattr(state, "_metadata", None)
    if metadata is not None:
        result._metadata = metadata  # type: ignore[attr-defined]
    return result


def load_weights(
    model: nn.Module,
    checkpoint: Mapping[str, Any],
    strict: bool = False,
    revise_keys: ReviseKeys = STRIP_MODULE,
    min_loaded: float = MIN_LOADED,
) -> LoadReport:
    """Load the weights of ``checkpoint`` into ``model``; what does not fit is logged, or raised when ``strict``.

    Weights of another shape are left out and reported with both shapes. CheckpointError in either mode when less than
    ``min_loaded`` of the model, by number of weights and by bytes, would be loaded: most likely the file is another
    model's. 0 allows any part; a file of which nothing fits is always an error. Both are warnings where
    ``defaults.refuses_other_weights`` is off, unless ``strict``.
    """
    state = revised(weights_of(checkpoint), revise_keys)
    own = model.state_dict()
    report = compare(type(model).__name__, own, state)
    usable = OrderedDict((name, _for(state[name], own[name])) for name in report.loaded)
    if own and not usable:
        hint = f"\n{report.problems()}" if report.renames else ""
        _refuse(
            f"no weight of the checkpoint fits {report.model}: it has names such as {_some(list(state))}, the "
            f"model {_some(list(own))}. Is it another model's file? revise_keys=[(pattern, replacement)] "
            f"renames.{hint}",
            strict,
        )
        return report
    if hasattr(state, "_metadata"):
        usable._metadata = state._metadata  # type: ignore[attr-defined]
    if not report.fits and strict:
        raise CheckpointError(
            f"strict loading into {report.model} failed:\n{report.problems()}\nA resume needs the model that the "
            "checkpoint was made with. To take over only what fits, use load_from without resume (strict=False)."
        )
    if strict and report.loses_digits:
        raise CheckpointError(
            f"strict loading into {report.model} failed: its types cannot hold all digits of the checkpoint's, "
            f"{report.cast_text()}. Make the model in the type that it was saved in, or load with strict=False."
        )
    if report.share < min_loaded:
        _refuse(
            f"only {report.head().replace(' were loaded', ' would be loaded')}, less than min_loaded={min_loaded:.0%}: "
            f"is it another model's file?\n{report.problems()}\nload_checkpoint(..., min_loaded=0) allows it.",
            strict,
        )
    model.load_state_dict(usable, strict=False)
    _tell(report)
    return report


def _refuse(message: str, strict: bool) -> None:
    """What most likely is another model's file."""
    if strict or defaults.refuses_other_weights:
        raise CheckpointError(message)
    MMLogger.get_current_instance().warning("%s", message)


def _for(value: Any, own: Any) -> Any:
    """What is copied into `own`; one that has not been read is read by that, so that never two of them lie around."""
    return value if isinstance(value, StoredTensor) else laid_out_as(value, own)


def _tell(report: LoadReport) -> None:
    logger = MMLogger.get_current_instance()
    if not report.fits:
        logger.warning("%s:\n%s", report.head(), report.problems())
    if report.casts:
        logger.log(logging.WARNING if report.loses_digits else logging.INFO, report.cast_text())


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) or "none"
