"""Weights and optimizer states of a DeepSpeed engine, gathered into whole tensors and put back into its parts.

From ZeRO stage 1 on the engine has, for each group of parameters, one flat tensor of single precision that holds this
rank's part of all of them, and the optimizer's states are flat tensors of that shape. Where a parameter's part lies
differs between the stages; the rest is the same for all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import distributed as torch_dist
from torch import nn

from trainwright.base.errors import ConfigError


class EngineState:
    """The state of `engine`, whose optimizer was made with `groups` of the user's parameters."""

    def __init__(self, engine: Any, groups: list[list[nn.Parameter]]) -> None:
        self.module: nn.Module = engine.module
        self.stage = int(engine.zero_optimization_stage())
        self._groups = groups
        self._zero = engine.optimizer
        self.base = engine.basic_optimizer
        self._flat_of = {id(p): flat for flat, params in self._flats() for p in params}

    def _flats(self) -> list[tuple[torch.Tensor, list[nn.Parameter]]]:
        zero = self._zero
        if self.stage == 0:
            return []
        if self.stage == 3:
            return list(zip(zero.fp32_partitioned_groups_flat, zero.fp16_groups, strict=True))
        if hasattr(zero, "bf16_groups"):
            return list(zip(zero.fp32_groups_flat_partition, zero.bf16_groups, strict=True))
        return list(zip(zero.single_partition_of_fp32_groups, zero.bit16_groups, strict=True))

    def _place(self, param: Any) -> tuple[int, int, int]:
        """Of this rank's part: where it begins in the flat tensor, where in the parameter, and how long it is."""
        if self.stage == 3:
            _, begin, length = self._zero.grad_position[param.ds_id]
            first = torch_dist.get_rank() * length
            return begin, first, max(0, min(length, param.ds_numel - first))
        part = param._hp_mapping
        if part is None:
            return 0, 0, 0
        return part.hp_fragment_address.start, part.lp_fragment_address.start, part.hp_fragment_address.numel

    # weights ----------------------------------------------------------------------------------------------------

    def weights(self) -> OrderedDict[str, torch.Tensor]:
        """Whole weights, of single precision where the engine has them so, and buffers. All ranks call this."""
        state = self.module.state_dict(keep_vars=True)
        seen: dict[int, torch.Tensor] = {}
        whole: OrderedDict[str, torch.Tensor] = OrderedDict()
        for name, value in state.items():
            if isinstance(value, nn.Parameter):
                if id(value) not in seen:
                    seen[id(value)] = self._weight(value)
                whole[name] = seen[id(value)]
            else:
                whole[name] = value.detach() if isinstance(value, torch.Tensor) else value
        vars(whole)["_metadata"] = getattr(state, "_metadata", {})
        return whole

    def _weight(self, param: Any) -> torch.Tensor:
        flat = self._flat_of.get(id(param))
        if flat is not None:
            return self._gathered(flat, param)
        if self.stage < 3:
            return param.detach()  # type: ignore[no-any-return]
        part = param.ds_tensor.detach()  # of one that is not trained
        first = torch_dist.get_rank() * part.numel()
        return _summed(part, 0, first, max(0, min(part.numel(), param.ds_numel - first)), param.ds_shape)

    def _gathered(self, flat: torch.Tensor, param: Any) -> torch.Tensor:
        return _summed(flat.detach(), *self._place(param), _shape(param))

    def put_weights(self, load: Callable[[nn.Module], Any]) -> None:
        """Have ``load(module)`` change whole weights, and take over what it left. All ranks call this."""
        if self.stage == 0:
            load(self.module)
            return
        params: list[Any] = list(self.module.parameters())
        parts = [param.data for param in params]
        try:
            for param in params:
                param.data = self._weight(param).clone()
            load(self.module)
            whole = [param.data for param in params]
        finally:
            for param, part in zip(params, parts, strict=True):
                param.data = part
        for param, value in zip(params, whole, strict=True):
            self._put(param, value)

    @torch.no_grad()
    def _put(self, param: Any, value: torch.Tensor) -> None:
        line = value.reshape(-1)
        flat = self._flat_of.get(id(param))
        if flat is not None:
            begin, first, length = self._place(param)
            flat.detach().narrow(0, begin, length).copy_(line.narrow(0, first, length) if length else line[:0])
        if self.stage == 3:
            part = param.ds_tensor.data
            first = torch_dist.get_rank() * part.numel()
            length = max(0, min(part.numel(), line.numel() - first))
            part.narrow(0, 0, length).copy_(line.narrow(0, first, length) if length else line[:0])
        if param.data.shape == value.shape:  # at stage 3 only those that are small enough to stay whole
            param.data.copy_(value)

    # optimizer --------------------------------------------------------------------------------------------------

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state as torch has it in one process: by number of the parameter. All ranks call this."""
        if self.stage == 0:
            return self.base.state_dict()  # type: ignore[no-any-return]
        state: dict[int, dict[str, Any]] = {}
        groups, number = [], 0
        for settings, params in zip(self.base.param_groups, self._groups, strict=True):
            numbers = list(range(number, number + len(params)))
            number += len(params)
            groups.append({**{name: value for name, value in settings.items() if name != "params"}, "params": numbers})
            for place, param in zip(numbers, params, strict=True):
                flat = self._flat_of.get(id(param))
                if flat is not None and self.base.state.get(flat):
                    state[place] = self._state_of(param, flat, self.base.state[flat])
        return {"state": state, "param_groups": groups}

    def _state_of(self, param: Any, flat: torch.Tensor, values: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            if not isinstance(value, torch.Tensor):
                found[name] = value
            elif value.shape == flat.shape:
                found[name] = self._gathered(value, param)
            else:
                found[name] = value.clone()
        return found

    def put_optimizer(self, saved: dict[str, Any]) -> None:
        """Take this rank's parts of what :meth:`optimizer`, or torch in one process, gave."""
        if self.stage == 0:
            self.base.load_state_dict(saved)
            return
        groups = saved["param_groups"]
        there, here = [len(group["params"]) for group in groups], [len(params) for params in self._groups]
        if there != here:
            raise ConfigError(
                f"the checkpoint's optimizer has groups of {there} parameters, and this one of {here}: resume with the "
                "same model and optim_wrapper, or with resume_optimizer=False."
            )
        by_param: dict[int, dict[str, Any]] = {}
        for settings, group, params in zip(self.base.param_groups, groups, self._groups, strict=True):
            settings.update({name: value for name, value in group.items() if name != "params"})
            for number, param in zip(group["params"], params, strict=True):
                by_param[id(param)] = saved["state"].get(number) or {}
        self.base.state.clear()
        for flat, members in self._flats():
            values = self._flat_state(flat, members, [by_param.get(id(param), {}) for param in members])
            if values:
                self.base.state[flat] = values
        if hasattr(self._zero, "_hp_optimizer_states_linked"):
            self._zero._hp_optimizer_states_linked = False  # to these tensors, at the next step

    def _flat_state(self, flat: torch.Tensor, params: list[Any], states: list[dict[str, Any]]) -> dict[str, Any]:
        names = dict.fromkeys(name for state in states for name in state)
        result: dict[str, Any] = {}
        for name in names:
            values = [state.get(name) for state in states]
            if any(isinstance(v, torch.Tensor) and v.shape == _shape(p) for v, p in zip(values, params, strict=True)):
                result[name] = torch.zeros_like(flat)
                for value, param in zip(values, params, strict=True):
                    begin, first, length = self._place(param)
                    if value is not None and length:
                        line = value.reshape(-1).narrow(0, first, length)
                        result[name].narrow(0, begin, length).copy_(line)
            else:
                result[name] = _common(name, values)
        return result


def _common(name: str, values: list[Any]) -> Any:
    """What holds for all parameters of a flat tensor."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or any(bool(value != known[0]) for value in known[1:]):
        shown = ", ".join(sorted({"none" if value is None else str(float(value)) for value in values}))
        raise ConfigError(
            f"the checkpoint's optimizer has different values of {name!r} for parameters of one group ({shown}), as "
            "after a part of them was frozen: DeepSpeed keeps one for the whole group. Resume with "
            "resume_optimizer=False, or under another strategy."
        )
    return known[0].clone() if isinstance(known[0], torch.Tensor) else known[0]


def _shape(param: Any) -> torch.Size:
    return torch.Size(getattr(param, "ds_shape", param.shape))


def _summed(flat: torch.Tensor, begin: int, first: int, length: int, shape: Any) -> torch.Tensor:
    """A whole tensor of `shape`, of which each rank has a part in its flat one. All ranks call this."""
    whole = torch.zeros(torch.Size(shape), dtype=flat.dtype, device=flat.device)
    line = whole.view(-1)
    if length:
        line.narrow(0, first, length).copy_(flat.narrow(0, begin, length))
    # As whole numbers, of which all but one rank have 0: every bit stays what it is, that of a negative zero too.
    torch_dist.all_reduce(line.view(torch.int32) if flat.dtype == torch.float32 else line)
    return whole
