"""Putting the weights of a checkpoint into a model."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.dist import laid_out_as

ReviseKeys = Sequence[tuple[str, str]]
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
    model: nn.Module, checkpoint: Mapping[str, Any], strict: bool = False, revise_keys: ReviseKeys = STRIP_MODULE
) -> None:
    """Load the weights of ``checkpoint`` into ``model``; what does not fit is logged, or raised when ``strict``.

    Weights of another shape are left out and reported with both shapes. A checkpoint that has not one name in common
    with the model raises CheckpointError in either mode: nothing would have been loaded.
    """
    state = revised(weights_of(checkpoint), revise_keys)
    own = model.state_dict()
    wrong_shape = [
        f"{name}: {_shape(value)} in the checkpoint, {_shape(own[name])} in the model"
        for name, value in state.items()
        if name in own and _shape(value) != _shape(own[name])
    ]
    usable = OrderedDict(
        (k, laid_out_as(v, own[k])) for k, v in state.items() if k in own and _shape(v) == _shape(own[k])
    )
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    if own and not usable:
        raise CheckpointError(
            f"no weight of the checkpoint fits {type(model).__name__}: it has names such as {_some(list(state))}, the "
            f"model {_some(list(own))}. Is it another model's file? revise_keys=[(pattern, replacement)] renames."
        )
    if hasattr(state, "_metadata"):
        usable._metadata = state._metadata  # type: ignore[attr-defined]
    problems = _report(missing, unexpected, wrong_shape)
    if problems and strict:
        raise CheckpointError(
            f"strict loading into {type(model).__name__} failed:\n{problems}\nA resume needs the model that the "
            "checkpoint was made with. To take over only what fits, use load_from without resume (strict=False)."
        )
    model.load_state_dict(usable, strict=False)
    if problems:
        MMLogger.get_current_instance().warning(
            "%d of %d weights were loaded into %s:\n%s", len(usable), len(own), type(model).__name__, problems
        )


def _shape(value: Any) -> tuple[int, ...] | str:
    """The shape of a tensor; what a module's get_extra_state() gave need not be one."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else "no tensor"


def _some(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) or "none"


def _report(missing: list[str], unexpected: list[str], wrong_shape: list[str]) -> str:
    parts = [
        ("missing in the checkpoint", missing),
        ("not in the model", unexpected),
        ("of another shape", wrong_shape),
    ]
    return "\n".join(f"  {title}: {', '.join(items)}" for title, items in parts if items)
