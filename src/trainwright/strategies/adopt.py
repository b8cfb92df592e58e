"""The strategy of objects that a user has built: their state and their steps, in the environment as it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import nn
from torch.optim import Optimizer

from trainwright import dist
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint import CheckpointManager
from trainwright.model import is_model_wrapper
from trainwright.optim import BaseOptimWrapper, OptimWrapper, OptimWrapperDict
from trainwright.strategies.state import StrategyState

_USED = ("step", "zero_grad", "param_groups", "state_dict", "load_state_dict")
_placed: WeakKeyDictionary[nn.Module, ReferenceType[StrategyState]] = WeakKeyDictionary()  # neither is kept alive


class AdoptedStrategy(StrategyState):
    """A model, and its optimizer or optimizers, as they are: nothing is placed, seeded, joined or written here.

    ``optimizer``: a torch optimizer; a dict of them by name; an optimizer wrapper, which is taken as it is; or None.
    ``work_dir`` is where checkpoints go, if any do. ``logger`` is told what ought to be known; by default it is the
    current one of the package.
    """

    param_schedulers: list[Any]

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any = None,
        *,
        work_dir: str | os.PathLike[str] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        self.model = model
        if optimizer is not None:
            self.optim_wrapper = wrapped(optimizer)
        self.param_schedulers = []
        self.given_optimizer = optimizer  # without the wrapper that is made around it
        self._folder = None if work_dir is None else os.path.abspath(work_dir)
        self._logger = logger
        self.dispatch_kwargs = {}

    @property
    def logger(self) -> logging.Logger:  # type: ignore[override]
        """Who is told what ought to be known."""
        return self._logger or MMLogger.get_current_instance()

    @property
    def work_dir(self) -> str:
        """Where checkpoints go, absolute."""
        if self._folder is None:
            raise ConfigError("no folder for checkpoints was named: give work_dir to AdoptedStrategy.")
        return self._folder

    @property
    def rank(self) -> int:
        """Rank of this process in the process group, 0 without one."""
        return dist.get_rank()

    @property
    def world_size(self) -> int:
        """Number of processes of the process group, 1 without one."""
        return dist.get_world_size()

    @property
    def distributed(self) -> bool:
        """Whether there is a process group."""
        return dist.is_distributed()

    @property
    def seed(self) -> int:
        """What torch was seeded with in this process."""
        return torch.initial_seed()

    @property
    def device(self) -> torch.device:
        """Where the first parameter, or else the first buffer, is; the CPU for a model that has neither."""
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            return tensor.device
        return torch.device("cpu")

    @property
    def unwrapped_model(self) -> nn.Module:
        """The user's module inside all wrappers."""
        return unwrapped(self.model)

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimizer in torch's own layout, or of each under its name; of a given wrapper the wrapper's."""
        given = self.given_optimizer
        if isinstance(given, BaseOptimWrapper):
            return given.state_dict()
        if isinstance(given, Mapping):
            return {name: part.state_dict() for name, part in given.items()}
        return given.state_dict()  # type: ignore[no-any-return]

    def checkpoints(self) -> CheckpointManager:
        """The checkpoints of ``work_dir``."""
        return CheckpointManager(self.work_dir, self.write_tree, self.read_tree)


def unwrapped(model: nn.Module) -> nn.Module:
    """What is inside all wrappers around a model: data parallel ones of torch, those of MODEL_WRAPPERS, and what
    ``torch.compile`` returns."""
    found: Any = model
    while True:
        inner = getattr(found, "_orig_mod", None) or (
            getattr(found, "module", None) if is_model_wrapper(found) else None
        )
        if not isinstance(inner, nn.Module):
            return found  # type: ignore[no-any-return]
        found = inner


def note_placed(strategy: StrategyState) -> None:
    """This strategy has placed its model: who has the module alone finds it by :func:`placed_by`."""
    _placed[strategy.unwrapped_model] = ref(strategy)


def placed_by(model: nn.Module) -> StrategyState | None:
    """The strategy that has placed a user's module, if one has and is still there."""
    found = _placed.get(model)
    return None if found is None else found()


def wrapped(optimizer: Any) -> BaseOptimWrapper:
    """An optimizer wrapper around an optimizer, or around each of a dict; a given wrapper as it is."""
    if isinstance(optimizer, BaseOptimWrapper):
        return optimizer
    if isinstance(optimizer, Mapping):
        parts = {name: wrapped(part) for name, part in optimizer.items()}
        return OptimWrapperDict(**parts)  # type: ignore[arg-type]
    if isinstance(optimizer, Optimizer):
        return OptimWrapper(optimizer)
    missing = [name for name in _USED if not hasattr(optimizer, name)]
    if missing:
        raise ConfigTypeError(
            f"optimizer must be a torch.optim.Optimizer, a dict of them, an OptimWrapper, or an object around an "
            f"optimizer that has {', '.join(_USED)}, but got {optimizer!r} of type {type(optimizer).__name__}, which "
            f"has no {', '.join(missing)}."
        )
    return _LookalikeWrapper(optimizer)


class _LookalikeWrapper(OptimWrapper):
    """Around an object that behaves as an optimizer and is none, such as one that has an optimizer inside."""

    _takes = object

    def zero_grad(self, **kwargs: Any) -> None:
        self.optimizer.zero_grad(**kwargs)

    def step(self, **kwargs: Any) -> None:
        self.optimizer.step(**kwargs)


def follow_parameters(
    optimizer: Optimizer, names: Mapping[nn.Parameter, str], placed: Mapping[str, nn.Parameter]
) -> None:
    """Give an optimizer the placed parameters in place of those that had their names before."""
    groups = optimizer.param_groups
    for group in groups:
        for param in group["params"]:
            if param not in names:
                raise ConfigError(
                    f"{type(optimizer).__name__} has a parameter of shape {tuple(param.shape)} that is none of the "
                    "model's: a strategy can only place an optimizer's parameters with the model that they belong to."
                )
    moved = [(group, [placed[names[param]] for param in group["params"]]) for group in groups]
    if all(new is old for group, params in moved for old, new in zip(group["params"], params, strict=True)):
        return
    if optimizer.state:
        raise ConfigError(
            f"{type(optimizer).__name__} has made steps already, and its state cannot follow its parameters: give the "
            "strategy an optimizer that is new, and load the state afterwards."
        )
    for group, params in moved:
        group["params"] = params
