"""The arguments of a model's method, for each device."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.parallel._functions import Scatter as ChunksOfTensor

from trainwright.compat.mmcv1.parallel._functions import Scatter
from trainwright.compat.mmcv1.parallel.data_container import DataContainer


def scatter(inputs: Any, target_gpus: list[int], dim: int = 0) -> Any:
    """A list with an item for each device: tensors cut along `dim`, DataContainers unpacked, all else as it is. On the
    CPU, `[-1]`, nothing is cut.
    """
    if isinstance(inputs, Tensor):
        if target_gpus == [-1]:
            return Scatter.forward(target_gpus, inputs)
        return ChunksOfTensor.apply(target_gpus, None, dim, inputs)
    if isinstance(inputs, DataContainer):
        return inputs.data if inputs.cpu_only else Scatter.forward(target_gpus, inputs.data)
    if isinstance(inputs, (tuple, list, dict)) and len(inputs) > 0:
        parts = inputs.items() if isinstance(inputs, dict) else inputs
        per_device = zip(*(scatter(part, target_gpus, dim) for part in parts), strict=False)
        kind: Any = tuple if isinstance(inputs, tuple) else list if isinstance(inputs, list) else type(inputs)
        return [kind(items) for items in per_device]
    return [inputs for _ in target_gpus]


def scatter_kwargs(inputs: Any, kwargs: Any, target_gpus: list[int], dim: int = 0) -> tuple[Any, Any]:
    """Positional and keyword arguments for each device: as many tuples as dicts."""
    positional = list(scatter(inputs, target_gpus, dim)) if inputs else []
    named = list(scatter(kwargs, target_gpus, dim)) if kwargs else []
    n_devices = max(len(positional), len(named))
    positional += [() for _ in range(n_devices - len(positional))]
    named += [{} for _ in range(n_devices - len(named))]
    return tuple(positional), tuple(named)
