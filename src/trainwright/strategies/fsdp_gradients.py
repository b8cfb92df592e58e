"""Gradients of an accumulation window under FSDP, which keeps them whole and apart from the parameters until they are
summed over the ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from trainwright import dist


def tensors(units: Sequence[Any]) -> list[torch.Tensor]:
    """What this rank has added up."""
    found = (_gradient(part) for part, _ in _parts(units))
    return [gradient for gradient in found if gradient is not None]


def held(model: nn.Module, units: Sequence[Any]) -> dict[str, torch.Tensor]:
    """What this rank has added up of each parameter, in the memory of the host."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[part.sharded_param]: _gradient(part) for part, _ in _parts(units) if part.sharded_param in names}
    return {name: dist.whole(gradient.detach()).cpu() for name, gradient in found.items() if gradient is not None}


def put(model: nn.Module, units: Sequence[Any], gradients: dict[str, torch.Tensor]) -> None:
    """Have this rank hold these, whole ones under the names of the parameters."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    for part, policy in _parts(units):
        gradient = gradients.get(names.get(part.sharded_param, ""))
        if gradient is not None:
            dtype = policy.reduce_dtype or policy.param_dtype or part.sharded_param.dtype
            part.unsharded_accumulated_grad = _laid_out(gradient.to(part.device, dtype), part)


def drop(units: Sequence[Any]) -> None:
    """Forget them."""
    for part, _ in _parts(units):
        part.unsharded_accumulated_grad = None
        if hasattr(part, "_unsharded_param"):
            part._unsharded_param.grad = None


def exchange(root: Any, units: Sequence[Any]) -> None:
    """Sum them over the ranks and divide them among these, as a backward with ``set_requires_gradient_sync(True)``
    does at its end. All ranks call this."""
    state = root._get_fsdp_state()
    state._lazy_init()
    if any(not hasattr(part, "_unsharded_param") for part, _ in _parts(units)):  # resumed, and there was no forward yet
        for unit in units:
            unit.unshard()
            unit.reshard()
    root.set_requires_gradient_sync(True)
    state._root_post_backward_final_callback()


def _parts(units: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """torch's own record of each parameter, and its precision."""
    for unit in units:
        for group in unit._get_fsdp_state()._fsdp_param_groups:
            for part in group.fsdp_params:
                yield part, group.mp_policy


def _laid_out(gradient: torch.Tensor, part: Any) -> torch.Tensor:
    """As the parameter is when FSDP has put it together: among tensor-parallel ranks it is still divided then."""
    spec = part._unsharded_dtensor_spec
    if spec is None:
        return gradient
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(gradient, spec.mesh, spec.placements, src_data_rank=None)


def _gradient(part: Any) -> torch.Tensor | None:
    if part.unsharded_accumulated_grad is not None:
        return part.unsharded_accumulated_grad  # type: ignore[no-any-return]
    return part._unsharded_param.grad if hasattr(part, "_unsharded_param") else None
