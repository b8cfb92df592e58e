"""The mean of the weights of several checkpoints."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint.kinds import read_checkpoint
from trainwright.checkpoint.weights import weights_of

_EMA = "ema_state_dict"


def averaged(
    paths: Sequence[str], weights: Sequence[float] | None = None, key: str | None = None, trusted: bool = False
) -> OrderedDict[str, Tensor]:
    """The weights of the checkpoints ``paths``, averaged with ``weights``, which are scaled to sum to 1; equal ones by
    default.

    Only numbers with a fraction are averaged, in float64, and given back in their type; counters are those of the last
    checkpoint. ``key`` names the part to take: such as ``ema_state_dict``, whose names lose ``module.``. One checkpoint
    at a time is in memory.
    """
    shares = _shares(paths, weights)
    sums: dict[str, Tensor] = {}
    last: Mapping[str, Any] = {}
    for path, share in zip(paths, shares, strict=True):
        state = _part(path, read_checkpoint(path, trusted=trusted), key)
        if last and (problem := _unlike(last, state)):
            raise CheckpointError(f"{paths[0]!r} and {path!r} cannot be averaged: {problem}.")
        for name, value in state.items():
            if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
                wide = value.to(torch.complex128 if value.is_complex() else torch.float64) * share
                sums[name] = sums[name] + wide if name in sums else wide
        last = state
    result = OrderedDict((name, sums[name].to(v.dtype) if name in sums else v) for name, v in last.items())
    if hasattr(last, "_metadata"):
        result._metadata = last._metadata  # type: ignore[attr-defined]
    return result


def _shares(paths: Sequence[str], weights: Sequence[float] | None) -> list[float]:
    if not paths:
        raise CheckpointError("nothing to average: name at least one checkpoint.")
    given = [1.0] * len(paths) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(paths):
        raise CheckpointError(f"{len(paths)} checkpoints were named and {len(given)} weights: give one weight each.")
    total = sum(given)
    if not all(map(math.isfinite, given)) or total == 0:
        raise CheckpointError(
            f"the weights {given} cannot be scaled to a sum of 1: they must be finite and not cancel."
        )
    return [weight / total for weight in given]


def _part(path: str, tree: Mapping[str, Any], key: str | None) -> Mapping[str, Any]:
    if key is None:
        return weights_of(tree)
    if not isinstance(tree.get(key), Mapping):
        known = ", ".join(name for name, value in tree.items() if isinstance(value, Mapping)) or "none"
        raise CheckpointError(f"{path!r} has no part {key!r} to average; it has {known}.")
    part = tree[key]
    if key != _EMA:
        return part  # type: ignore[no-any-return]
    inside = {name[len("module.") :]: value for name, value in part.items() if name.startswith("module.")}
    return OrderedDict(inside or part)


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    lacking = [name for name in one if name not in other] + [name for name in other if name not in one]
    if lacking:
        return f"only one of them has {lacking[0]!r} ({len(lacking)} such names)"
    for name, value in one.items():
        theirs = other[name]
        if isinstance(value, Tensor) and isinstance(theirs, Tensor) and value.shape != theirs.shape:
            return f"{name!r} has the shapes {tuple(value.shape)} and {tuple(theirs.shape)}"
    return ""
