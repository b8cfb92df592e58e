"""Who initialised which parameter: kept while ``init_weights`` of a model runs, and written to the log at its end."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from trainwright.base.errors import RuleError
from trainwright.base.logs import MMLogger

RECORD = "_params_init_info"
Record = dict[nn.Parameter, dict[str, Any]]


@contextmanager
def recording(module: nn.Module) -> Iterator[bool]:
    """While the block runs, `module` and all in it share one record; gives whether it is this block that made it.

    The record has for each parameter ``init_info``, in words, and ``tmp_mean_value``, by which a change is seen.
    """
    if hasattr(module, RECORD):
        yield False
        return
    record: Record = defaultdict(dict)
    parameters = list(module.parameters())
    for parameter, mean in zip(parameters, _means(parameters), strict=True):
        record[parameter] = {
            "init_info": f"the same as before init_weights of {type(module).__name__}",
            "tmp_mean_value": mean,
        }
    modules = list(module.modules())
    for part in modules:
        vars(part)[RECORD] = record
    try:
        yield True
    finally:
        for part in modules:
            vars(part).pop(RECORD, None)


def update_init_info(module: nn.Module, init_info: str) -> None:
    """Note `init_info` for each parameter of `module` that has changed since the last note.

    RuleError for a parameter that was not there when ``init_weights`` began.
    """
    record: Record | None = vars(module).get(RECORD)
    if record is None:
        raise RuleError(
            f"update_init_info: {type(module).__name__} has no {RECORD}; it is there while init_weights of a "
            "BaseModule around it runs."
        )
    named = list(module.named_parameters())
    for name, parameter in named:
        if parameter not in record:
            raise RuleError(
                f"init_weights of {type(module).__name__} added or replaced the parameter {name!r}. Optimizers and "
                "averages may know the old one: make parameters in __init__, and let init_weights fill them in place."
            )
    for (_, parameter), mean in zip(named, _means(parameter for _, parameter in named), strict=True):
        known = record[parameter]
        if not _same(float(known["tmp_mean_value"]), float(mean)):
            known["init_info"], known["tmp_mean_value"] = init_info, mean


def write_record(module: nn.Module) -> None:
    """Put the record into the files of the current logger, or to where else it writes when there is none."""
    record: Record = vars(module)[RECORD]
    lines = [
        f"{name} {_shape(parameter)}: {record[parameter]['init_info']}"
        for name, parameter in module.named_parameters()
        if parameter in record
    ]
    if not lines:
        return
    text = "\n  ".join(["how the parameters were initialised:", *lines])
    logger = MMLogger.get_current_instance()
    files = [handler for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
    if not files:
        logger.info(text)
        return
    entry = logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, (), None)
    for handler in files:
        handler.handle(entry)


def _means(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    """Their means on the host, read at once."""
    means = [_mean(parameter) for parameter in parameters]
    return list(torch.stack([mean.to(means[0].device) for mean in means]).cpu()) if means else []


def _mean(tensor: Tensor) -> Tensor:
    if is_lazy(tensor) or tensor.is_meta:
        return torch.zeros((), dtype=torch.float64)
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return (tensor if tensor.is_floating_point() else tensor.double()).mean().double()


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _shape(parameter: nn.Parameter) -> str:
    return "(shape not known yet)" if is_lazy(parameter) else str(tuple(parameter.shape))
