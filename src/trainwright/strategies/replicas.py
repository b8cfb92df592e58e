"""Weights that are whole on every rank of a tensor group must get the same gradient on each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.base.errors import ConfigError

N_CHECKED = 2  # updates at the beginning of a run, or of one that is resumed
_TOLERANCE = 1e-2  # copies of one computation are equal, but for rounding; parts of a sum are far from it


def watch_replicas(model: nn.Module, wrappers: Iterable[Any], group: Any) -> None:
    """Before the first updates hold the gradients of weights that ranks of `group` have copies of against each other:
    a module that is whole and computes with a part of the heads gets another one on each, and no loss shows it."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    for wrapper in wrappers:
        if hasattr(wrapper, "before_step") and dist.get_world_size(group) > 1:
            _Watch(wrapper, names, group)


class _Watch:
    def __init__(self, wrapper: Any, names: dict[nn.Parameter, str], group: Any) -> None:
        self._wrapper, self._names, self._group = wrapper, names, group
        self._left = N_CHECKED
        self._end = wrapper.before_step(self._look)

    def _look(self) -> None:
        params = [param for entry in self._wrapper.optimizer.param_groups for param in entry["params"]]
        check_replicas({self._names.get(param, "a parameter"): param for param in params}, self._group)
        self._left -= 1
        if not self._left:
            self._end()


def check_replicas(params: dict[str, Any], group: Any) -> None:
    """ConfigError, on all ranks, where the gradients of copies differ; all ranks of `group` call this."""
    copies = {
        name: param.grad
        for name, param in params.items()
        if dist.is_sharded(param.grad) and param.grad.placements[-1].is_replicate()
    }
    if not copies:
        return
    prints = torch.stack([_print(dist.local(gradient.detach())) for gradient in copies.values()])
    of_ranks = torch.stack(dist.all_gather(prints, group))  # (ranks, copies, 2)
    size = of_ranks[..., 0].amax(0)
    spread = (of_ranks - of_ranks[0]).abs().amax(0).amax(-1)
    # Gradients that overflowed under a loss scale are not compared: NaN is not larger than anything.
    wrong = [name for name, is_wrong in zip(copies, (spread > _TOLERANCE * size).tolist(), strict=True) if is_wrong]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ConfigError(
            f"ranks of a tensor group have different gradients for {', '.join(wrong[:4])}{more}, of which each has the "
            "whole: the modules compute with a part of the channels, heads or positions, which the plan has divided. "
            "Name them in the plan: 'replicate_sum' sums their gradients over the ranks, 'sequence' is for norms whose "
            "input is divided along dimension 1."
        )


def _print(gradient: torch.Tensor) -> torch.Tensor:
    """The norm of a gradient, and its size along a fixed direction, (2,)."""
    flat = gradient.float().reshape(-1)
    direction = torch.arange(1, flat.numel() + 1, device=flat.device, dtype=torch.float32).cos()
    return torch.stack([flat.norm(), flat @ direction])
