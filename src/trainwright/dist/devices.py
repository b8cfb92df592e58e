"""Where data lies, and where a backend takes it: tensors, and containers of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import distributed as torch_dist

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.dist.process import is_distributed

_ON_CPU = ("gloo", "mpi")
_CPU = torch.device("cpu")


def get_backend(group: torch_dist.ProcessGroup | None = None) -> str | None:
    """The backend of `group` in small letters; None without a process group."""
    return str(torch_dist.get_backend(group)) if is_distributed() else None


def get_comm_device(group: torch_dist.ProcessGroup | None = None) -> torch.device:
    """Where `group` wants what is sent: the current CUDA device with NCCL, otherwise the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if "nccl" in (get_backend(group) or "") else _CPU


def sending_device(device: torch.device, group: torch_dist.ProcessGroup | None = None) -> torch.device:
    """Where a tensor of `device` is sent from: where it is, if `group` has a backend of its own for that device."""
    backends = _backends(group)
    if device.type in backends:
        return _CPU if backends[device.type] in _ON_CPU else device
    return get_comm_device(group)


def _backends(group: torch_dist.ProcessGroup | None) -> dict[str, str]:
    """The backend by type of device."""
    pairs = (entry.partition(":") for entry in torch_dist.get_backend_config(group).split(","))
    return {device: backend for device, _, backend in pairs}


def get_data_device(data: Any) -> torch.device:
    """The device of a tensor, or of those in lists, tuples and dicts, which must agree."""
    devices = list(dict.fromkeys(tensor.device for tensor in tensors_in(data)))
    if not devices:
        raise ConfigError(f"data should not be empty: there is no tensor in {data!r} whose device could be told.")
    if len(devices) > 1:
        raise ConfigError(
            f"the tensors of data lie on {', '.join(map(str, devices))}: their device type should be consistent. Move "
            "them to one device first."
        )
    return devices[0]


def cast_data_device(data: Any, device: torch.device | str, out: Any = None) -> Any:
    """`data` with its tensors on `device`; those that are there stay the same. What is found is copied into `out`, a
    structure of the same types, if there is one."""
    device = torch.device(device)
    if out is not None:
        if type(data) is not type(out):
            raise ConfigTypeError(
                f"out should be of the type of data, but data is {type(data).__name__} and out {type(out).__name__}."
            )
        if isinstance(out, set):
            raise ConfigTypeError("out should not be a set: what belongs together in two sets cannot be told.")
    moved = mapped(data, lambda tensor: tensor if tensor.device == device else tensor.to(device))
    if not isinstance(data, torch.Tensor) and len(data) == 0:
        raise ConfigError("data should not be empty.")
    if out is not None:
        copy_into(out, moved)
    return moved


def copy_into(out: Any, data: Any) -> None:
    """Copy the tensors of `data` into those of `out`, at the same places."""
    if isinstance(out, torch.Tensor):
        out.copy_(data)
        return
    if len(out) != len(data):
        raise ConfigError(f"length of data and out should be the same, but got {len(data)} and {len(out)}.")
    if isinstance(out, Mapping):
        for key, value in data.items():
            if key not in out:
                raise ConfigError(f"data has the key {key!r}, which out lacks; it has {', '.join(map(repr, out))}.")
            copy_into(out[key], value)
        return
    for one, value in zip(out, data, strict=True):
        copy_into(one, value)


def tensors_in(data: Any) -> Iterator[torch.Tensor]:
    """The tensors of lists, tuples, sets and dicts in their order; a TypeError for what is none of all these."""
    if isinstance(data, torch.Tensor):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from tensors_in(value)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, np.ndarray)):
        for value in data:
            yield from tensors_in(value)
    else:
        raise ConfigTypeError(f"data should be a tensor, or a list, tuple or dict of tensors, but got {data!r}.")


def mapped(data: Any, func: Callable[[torch.Tensor], Any]) -> Any:
    """`data` with what `func` makes of each tensor, in containers of the same types."""
    if isinstance(data, torch.Tensor):
        return func(data)
    kind: Any = type(data)
    if isinstance(data, Mapping):
        return kind({key: mapped(value, func) for key, value in data.items()})
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes, np.ndarray)):
        values = [mapped(value, func) for value in data]
        return kind(*values) if hasattr(data, "_fields") else kind(values)  # a named tuple takes them one by one
    raise ConfigTypeError(f"data should be a tensor, or a list, tuple or dict of tensors, but got {data!r}.")
