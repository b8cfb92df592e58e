"""Optimizers by name: those of torch.optim, and those of other packages, which are imported when they are named."""

from __future__ import annotations

import inspect
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch.optim import Optimizer

from trainwright.base.errors import MissingExtraError
from trainwright.base.optional import require
from trainwright.registry import OPTIMIZERS

# MMEngine gives 'Adafactor' to the class of transformers, whose arguments are others than those of torch's.
_RENAMED = {"Adafactor": "TorchAdafactor"}

_OTHERS = {  # module -> (pip's name for its package, its classes)
    "lion_pytorch": ("lion-pytorch", "Lion"),
    "dadaptation": ("dadaptation", "DAdaptAdaGrad DAdaptAdam DAdaptSGD"),
    "transformers": ("transformers", "Adafactor"),
    "deepspeed.ops.adam": ("deepspeed", "DeepSpeedCPUAdam FusedAdam"),
    "deepspeed.ops.lamb": ("deepspeed", "FusedLamb"),
    "deepspeed.runtime.fp16.onebit": ("deepspeed", "OnebitAdam OnebitLamb ZeroOneAdam"),
    "bitsandbytes.optim": (
        "bitsandbytes",
        "Adagrad Adagrad8bit Adagrad32bit Adam Adam8bit Adam32bit PagedAdam PagedAdam8bit PagedAdam32bit AdamW "
        "AdamW8bit AdamW32bit PagedAdamW PagedAdamW8bit PagedAdamW32bit AdEMAMix AdEMAMix8bit AdEMAMix32bit "
        "PagedAdEMAMix PagedAdEMAMix8bit PagedAdEMAMix32bit LAMB LAMB8bit LAMB32bit LARS LARS8bit LARS32bit "
        "PytorchLARS Lion Lion8bit Lion32bit PagedLion PagedLion8bit PagedLion32bit RMSprop RMSprop8bit "
        "RMSprop32bit SGD SGD8bit SGD32bit",
    ),
}


_HOMES: dict[str, str] = {}  # where those of other packages are, by name


def _register_torch_optimizers() -> list[str]:
    names = []
    for name, found in vars(torch.optim).items():
        if inspect.isclass(found) and issubclass(found, Optimizer) and found is not Optimizer:
            names.append(_RENAMED.get(name, name))
            OPTIMIZERS.register_module(name=names[-1], module=found)
    return names


def _register_others() -> list[str]:
    names: list[str] = []
    for module, (package, classes) in _OTHERS.items():
        for attribute in classes.split():
            taken = attribute in TORCH_OPTIMIZERS or attribute in names
            name = f"bnb_{attribute}" if taken else attribute  # MMEngine's prefix for what another package has too
            OPTIMIZERS.register_deferred(name, partial(_imported, name, module, attribute, package))
            names.append(name)
            _HOMES[name] = module
    return names


def _imported(name: str, module: str, attribute: str, package: str) -> Any:
    hint = " ('TorchAdafactor' is torch's own, and takes other arguments)" if name == "Adafactor" else ""
    top = module.partition(".")[0]
    require(top, None, f"optimizer type={name!r}", f"pip install {package}{hint}")
    try:
        return getattr(import_module(module), attribute)
    except AttributeError as error:
        raise MissingExtraError(
            f"optimizer type={name!r} is not in the installed version of {top}; get a newer one with: "
            f"pip install --upgrade {package}"
        ) from error


def installed(package: str) -> list[str]:
    """The names of the optimizers of a package that can be imported; none of one that is not there."""
    if find_spec(package) is None:
        return []
    return [name for name, module in _HOMES.items() if module.partition(".")[0] == package]


def _zero_redundancy() -> Any:
    return import_module("trainwright.optim.zero").ZeroRedundancyOptimizer


TORCH_OPTIMIZERS = _register_torch_optimizers()
OTHER_OPTIMIZERS = _register_others()
# torch.distributed.optim takes a while to import, and few need it.
OPTIMIZERS.register_deferred("ZeroRedundancyOptimizer", _zero_redundancy)
