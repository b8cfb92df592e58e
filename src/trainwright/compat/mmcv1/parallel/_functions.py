"""Tensors to devices; -1 is the CPU, where they stay as they are."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainwright.base.errors import DataError


def scatter(input: Any, devices: list[int], streams: Any = None) -> Any:
    """A tensor on the first device; of a list the items in equal shares on the devices. `streams` are not needed."""
    if isinstance(input, list):
        share = (len(input) - 1) // len(devices) + 1
        return [scatter(item, [devices[n // share]]) for n, item in enumerate(input)]
    if not isinstance(input, Tensor):
        raise DataError(f"Unknown type {type(input)}: only tensors and lists of them go to a device")
    output = input.contiguous()
    return output if devices == [-1] else output.cuda(devices[0], non_blocking=True)


def get_input_device(input: Any) -> int:
    """The CUDA device of a tensor, or of the first in a list that has one; -1 for the CPU."""
    if isinstance(input, list):
        return next((device for device in map(get_input_device, input) if device != -1), -1)
    if isinstance(input, Tensor):
        return input.get_device() if input.is_cuda else -1
    raise DataError(f"Unknown type {type(input)}: only tensors and lists of them are on a device")


class Scatter:
    """`forward(devices, input)`: a tuple with what belongs to each device."""

    @staticmethod
    def forward(target_gpus: list[int], input: Any) -> tuple[Any, ...]:
        outputs = scatter(input, target_gpus)
        return tuple(outputs) if isinstance(outputs, list) else (outputs,)


__all__ = ["Scatter", "get_input_device", "scatter"]
