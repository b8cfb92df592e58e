"""Reducing many tensors with few messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import distributed as torch_dist

from trainwright.base.errors import RuleTypeError
from trainwright.dist.collectives import all_reduce
from trainwright.dist.own_group import chosen
from trainwright.dist.process import get_world_size


def all_reduce_dict(
    data: dict[str, torch.Tensor], op: str = "sum", group: torch_dist.ProcessGroup | None = None
) -> None:
    """Put in place of each tensor of `data` the one reduced over all ranks, with one message for each type of tensor.

    All ranks have the same keys, in any order. The tensors that were there are not written to.
    """
    if not isinstance(data, dict):
        raise RuleTypeError(f"all_reduce_dict takes a dict of tensors, but got {type(data).__name__}.")
    if get_world_size(chosen(group)) == 1:
        return
    keys = sorted(data)
    new = [data[key].detach().clone() for key in keys]
    _reduce_joined(new, -1, op, group)
    data.update(zip(keys, new, strict=True))


def all_reduce_params(
    params: Iterable[torch.Tensor],
    coalesce: bool = True,
    bucket_size_mb: int = -1,
    op: str = "sum",
    group: torch_dist.ProcessGroup | None = None,
) -> None:
    """Reduce parameters, or buffers, over all ranks, in place.

    `coalesce` sends those of one type together: all at once, or in buckets of at most `bucket_size_mb` megabytes where
    that is above 0 (a larger tensor is a bucket of its own). Without it each is a message.
    """
    if get_world_size(chosen(group)) == 1:
        return
    tensors = [param.detach() for param in params]
    if coalesce:
        _reduce_joined(tensors, bucket_size_mb, op, group)
    else:
        all_reduce(tensors, op, group)


def _reduce_joined(tensors: list[torch.Tensor], bucket_size_mb: float, op: str, group: Any) -> None:
    for bucket in _buckets(tensors, bucket_size_mb * 2**20):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
        all_reduce(flat, op, group)
        for tensor, part in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(part.view(tensor.shape))


def _buckets(tensors: list[torch.Tensor], limit_bytes: float) -> Iterator[list[torch.Tensor]]:
    """`tensors` by type and device, and in the order they come in; no limit where `limit_bytes` is not above 0."""
    kinds: dict[Any, list[torch.Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    for kind in kinds.values():
        bucket: list[torch.Tensor] = []
        n_bytes = 0
        for tensor in kind:
            if bucket and 0 < limit_bytes < n_bytes + tensor.nbytes:
                yield bucket
                bucket, n_bytes = [], 0
            bucket.append(tensor)
            n_bytes += tensor.nbytes
        yield bucket
