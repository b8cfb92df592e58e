"""A second module with the same structure and weights of its own, of sharded models too."""

from __future__ import annotations

import sys
from collections import OrderedDict
from copy import deepcopy
from typing import Any

from torch import nn

_HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)
_STATE = "__composable_api_state_key"  # where torch keeps what manages the module


def twin_of(model: nn.Module) -> nn.Module:
    """A deep copy, in which no method is compiled. FSDP refuses to be copied: of modules that it shards the copy has
    the class and the attributes that they had before, and as parameters this rank's parts, but nothing that would put
    these together for a forward."""
    fsdp = sys.modules.get("torch.distributed.fsdp")  # not imported: then nothing is sharded
    memo: dict[int, Any] = {}
    if fsdp is not None:
        for module in reversed(list(model.modules())):  # children come before those who hold them
            if isinstance(module, fsdp.FSDPModule):
                module.reshard()  # after a forward without backward it may still be whole
                memo[id(module)] = _unmanaged(module, memo)
    twin = deepcopy(model, memo)
    for module in twin.modules():
        for name, value in list(vars(module).items()):
            # Functions are not copied, and a compiled method is one: it would compute with the weights of `model`.
            if hasattr(value, "_torchdynamo_orig_callable") and hasattr(type(module), name):
                del vars(module)[name]
    return twin


def _unmanaged(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    kind: Any = type(module).__mro__[2]  # FSDP puts a class of its own, and FSDPModule, in front of it
    twin: nn.Module = kind.__new__(kind)
    memo[id(module)] = twin  # an attribute may hold the module itself, as a bound method does
    for name, value in vars(module).items():
        if name.startswith(_STATE):
            continue
        vars(twin)[name] = OrderedDict() if name in _HOOKS else deepcopy(value, memo)
    return twin
