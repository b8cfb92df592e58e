"""What ranks hold apart although they train one model: gradients that are not exchanged yet, and buffers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.dist.shards import keeps_shards

Tensors = dict[str, torch.Tensor]


def saved_buffers(model: nn.Module) -> Tensors:
    """The buffers that a checkpoint has, by name; those that are spread over ranks are not among them."""
    return {
        f"{prefix}.{name}" if prefix else name: buffer
        for prefix, module in model.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set and not dist.is_sharded(buffer)
    }


def own_buffers(model: nn.Module) -> Tensors:
    """This rank's copy of each buffer that is not the same on all ranks. All ranks call this; it reads the device."""
    buffers = saved_buffers(model)
    if not buffers:
        return {}
    sums = {name: _digest(buffer) for name, buffer in buffers.items()}
    first, *others = dist.all_gather_object(sums)
    differing = [name for name in buffers if any(other.get(name) != first.get(name) for other in others)]
    return {name: buffers[name].detach().cpu() for name in differing}


def put_buffers(model: nn.Module, own: Mapping[str, torch.Tensor]) -> None:
    """Put this rank's buffers in place."""
    buffers = saved_buffers(model)
    with torch.no_grad():
        for name, value in own.items():
            if name in buffers and buffers[name].shape == value.shape:
                buffers[name].copy_(value)


def of_ranks(own: dict[str, Any]) -> list[dict[str, Any]]:
    """The items of all ranks on rank 0. Elsewhere, and within ``dist.keeping_shards()``, the own one alone."""
    if keeps_shards():
        return [own]
    return dist.gather_object(own) or [own]


def mean_gradients(items: Iterable[Mapping[str, Any]]) -> Tensors:
    """What every rank may hold in place of what those of another number of ranks held: the mean over them."""
    parts = [item.get("gradients", {}) for item in items]
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: torch.stack([part[name] for part in parts if name in part]).sum(0) / len(parts) for name in names}


def exchange(params: Iterable[nn.Parameter]) -> None:
    """The mean over all ranks in place of each gradient, in one message a dtype. A parameter that has a gradient on one
    rank only has it on all then. All ranks call this."""
    params = [param for param in params if param.requires_grad]
    if not params:
        return
    held = torch.tensor([param.grad is not None for param in params], dtype=torch.uint8, device=params[0].device)
    dist.all_reduce(held, "max")
    groups: dict[tuple[torch.dtype, torch.device], list[torch.Tensor]] = {}
    for param, is_held in zip(params, held.tolist(), strict=True):
        if is_held and param.grad is None:
            param.grad = torch.zeros_like(param)
        if param.grad is not None:
            groups.setdefault((param.grad.dtype, param.grad.device), []).append(param.grad)
    for grads in groups.values():
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        dist.all_reduce(flat, "mean")
        for grad, mean in zip(grads, flat.split([grad.numel() for grad in grads]), strict=True):
            grad.copy_(mean.view_as(grad))


def _digest(tensor: torch.Tensor) -> str:
    numbers = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(numbers.numpy().data).hexdigest()
