"""State of which each rank has a part (DTensors): gathered, taken over, and its gradients clipped."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from trainwright import dist
from trainwright.checkpoint.folder import read_own_parts
from trainwright.checkpoint.format import MapLocation
from trainwright.checkpoint.kinds import STEP_FOLDER, layout_of
from trainwright.optim import OptimWrapperDict
from trainwright.strategies.state import StrategyState


class ShardedState(StrategyState):
    """The state half of strategies whose parameters are DTensors."""

    def model_state_dict(self) -> dict[str, Any]:
        """Whole weights and buffers in the memory of rank 0; the other ranks have their shapes only. All call this.
        Within ``dist.keeping_shards()`` each rank has its own part."""
        state = self.model.state_dict()
        whole = OrderedDict((name, dist.gathered(value)) for name, value in state.items())
        vars(whole)["_metadata"] = getattr(state, "_metadata", {})
        return whole

    def optim_state_dict(self) -> dict[str, Any]:
        """The state of the optimizer(s) in whole tensors, as :meth:`model_state_dict`. All ranks call this."""
        return dist.gathered_tree(super().optim_state_dict())  # type: ignore[no-any-return]

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this rank's parts out of whole tensors."""
        wrapper: Any = self.optim_wrapper
        if isinstance(wrapper, OptimWrapperDict):
            parts = {name: divided(one.optimizer, state_dict[name]) for name, one in wrapper.items()}
            super().load_optim_state_dict({**state_dict, **parts})
        else:
            super().load_optim_state_dict(divided(wrapper.optimizer, state_dict))

    def _tree_to_load(self, filename: str, map_location: MapLocation, trusted: bool) -> dict[str, Any]:
        """Of a step folder a rank reads its own parts, when they are put in place. All ranks call this."""
        if map_location == "cpu" and layout_of(filename) == STEP_FOLDER:
            return read_own_parts(filename)
        return super()._tree_to_load(filename, map_location, trusted)

    def held_gradients(self) -> dict[str, torch.Tensor]:
        named = self.model.named_parameters()
        return {name: dist.whole(param.grad.detach()).cpu() for name, param in named if param.grad is not None}

    def put_gradients(self, gradients: dict[str, torch.Tensor]) -> None:
        for name, param in self.model.named_parameters():
            if name in gradients:
                param.grad = dist.laid_out_as(gradients[name].to(param.device), param)


def clip_sharded(params: list[nn.Parameter], type: str = "norm", **options: Any) -> torch.Tensor | None:
    """Clip gradients of which each rank has a part, by the norm of all of it, which is returned; no host read."""
    gradients = [param.grad for param in params if param.grad is not None]
    if type == "value":
        limit = float(options["clip_value"])
        for gradient in gradients:
            dist.local(gradient.detach()).clamp_(-limit, limit)
        return None
    order = float(options.get("norm_type", 2.0))
    if not gradients:
        return torch.tensor(0.0)
    norms = dist.norm_of_each([gradient.detach() for gradient in gradients], order)
    total = torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]), order)
    if options.get("error_if_nonfinite", False) and not bool(torch.isfinite(total)):
        raise RuntimeError(f"the norm of order {order} of the gradients is {float(total)}, and cannot be clipped.")
    share = torch.clamp(options["max_norm"] / (total + 1e-6), max=1.0)
    by_device: dict[torch.device, list[torch.Tensor]] = {}  # offloaded parts, and whole ones that are not
    with torch.no_grad():
        for part in map(dist.local, gradients):
            by_device.setdefault(part.device, []).append(part)
        for device, parts in by_device.items():
            torch._foreach_mul_(parts, share.to(device))
    return total  # type: ignore[no-any-return]


def divided(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state dict with this rank's parts of the tensors that are as large as their parameter."""
    params = [param for group in optimizer.param_groups for param in group["params"]]
    state = dict(saved.get("state", {}))
    for place, values in state.items():
        if isinstance(place, int) and place < len(params) and isinstance(values, dict):
            like = params[place]
            state[place] = {
                name: dist.laid_out_as(value, like) if getattr(value, "shape", None) == like.shape else value
                for name, value in values.items()
            }
    return {**saved, "state": state}
