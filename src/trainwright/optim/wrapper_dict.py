"""Several wrappers under names, for models that train their parts with different optimizers."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import AbstractContextManager
from typing import Any, NoReturn

from torch import Tensor, nn

from trainwright.base.errors import CheckpointError, RegistryError, RuleTypeError
from trainwright.base.text import did_you_mean
from trainwright.optim.wrapper import OptimWrapper
from trainwright.registry import OPTIM_WRAPPERS


class _UnknownWrapperError(RegistryError, AssertionError):
    """A name that no wrapper has."""


class _ForeignStateError(CheckpointError, AssertionError):
    """A state of a wrapper that is not here."""


@OPTIM_WRAPPERS.register_extra
class OptimWrapperDict(OptimWrapper):
    """``OptimWrapperDict(generator=..., discriminator=...)``: a model's train_step takes each by name and updates it.

    What concerns one loss belongs to one wrapper and raises NotImplementedError here. What concerns all of them
    (groups, values, state) comes under their names. Each counts its own losses: one that is updated in every second
    iteration only, or that accumulates, steps at its own pace.
    """

    def __init__(self, **optim_wrapper_dict: OptimWrapper) -> None:
        # No super().__init__(): there is no single optimizer.
        for name, wrapper in optim_wrapper_dict.items():
            if not isinstance(wrapper, OptimWrapper) or isinstance(wrapper, OptimWrapperDict):
                raise RuleTypeError(
                    f"`OptimWrapperDict` only accepts OptimWrapper objects, got {name}={wrapper!r} of type "
                    f"{type(wrapper).__name__}; wrap an optimizer as OptimWrapper(optimizer)"
                )
        self.optim_wrappers = optim_wrapper_dict

    def _by_name_only(self, method: str) -> NoReturn:
        names = ", ".join(self.optim_wrappers)
        example = next(iter(self.optim_wrappers), "name")
        raise NotImplementedError(
            f"`{method}` should be called by each optimizer separately, and this OptimWrapperDict holds several "
            f"({names}): say optim_wrapper[{example!r}].{method} in the model's train_step"
        )

    def update_params(
        self,
        loss: Tensor,
        step_kwargs: dict[str, Any] | None = None,
        zero_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self._by_name_only("update_params")

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        self._by_name_only("backward")

    def step(self, **kwargs: Any) -> None:
        self._by_name_only("step")

    def skip_loss(self) -> None:
        """Does nothing: which of them would have seen a loss is known to the model alone, and none counts it."""

    def before_step(self, callback: Callable[[], None]) -> NoReturn:
        self._by_name_only("before_step")

    def loss_scale_tensor(self) -> NoReturn:
        self._by_name_only("loss_scale_tensor")

    def zero_grad(self, **kwargs: Any) -> None:
        """Drop the gradients of all of them."""
        for wrapper in self.optim_wrappers.values():
            wrapper.zero_grad(**kwargs)

    def optim_context(self, model: nn.Module) -> AbstractContextManager[Any]:
        self._by_name_only("optim_context")

    def initialize_count_status(self, model: nn.Module, init_counts: int, max_counts: int) -> None:
        """Does nothing: how many losses each wrapper sees is known to the model alone, which may tell each of them."""

    def gradient_scale(self) -> float:
        self._by_name_only("gradient_scale")

    def accumulation_state(self) -> dict[str, Any]:
        return {name: wrapper.accumulation_state() for name, wrapper in self.optim_wrappers.items()}

    def load_accumulation_state(self, state: dict[str, Any]) -> None:
        for name, part in state.items():
            self._known(name).load_accumulation_state(part)

    def state_dict(self) -> dict[str, Any]:
        return {name: wrapper.state_dict() for name, wrapper in self.optim_wrappers.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name, part in state_dict.items():
            self._known(name).load_state_dict(part)

    def _known(self, name: str) -> OptimWrapper:
        if name not in self.optim_wrappers:
            raise _ForeignStateError(
                f"Mismatched state: it holds an optimizer {name!r}, and this run has {', '.join(self.optim_wrappers)}."
                f"{did_you_mean(name, self.optim_wrappers)}"
            )
        return self.optim_wrappers[name]

    @property
    def param_groups(self) -> dict[str, list[dict[str, Any]]]:  # type: ignore[override]
        return {name: wrapper.param_groups for name, wrapper in self.optim_wrappers.items()}

    @property
    def defaults(self) -> dict[str, dict[str, Any]]:
        return {name: wrapper.defaults for name, wrapper in self.optim_wrappers.items()}

    @property
    def inner_count(self) -> int:
        self._by_name_only("inner_count")

    def get_lr(self) -> dict[str, list[Any]]:
        """``{"generator.lr": [...], ...}``"""
        return {f"{n}.{key}": v for n, wrapper in self.optim_wrappers.items() for key, v in wrapper.get_lr().items()}

    def get_momentum(self) -> dict[str, list[Any]]:
        """``{"generator.momentum": [...], ...}``"""
        return {
            f"{n}.{key}": v for n, wrapper in self.optim_wrappers.items() for key, v in wrapper.get_momentum().items()
        }

    def items(self) -> ItemsView[str, OptimWrapper]:
        return self.optim_wrappers.items()

    def values(self) -> ValuesView[OptimWrapper]:
        return self.optim_wrappers.values()

    def keys(self) -> KeysView[str]:
        return self.optim_wrappers.keys()

    def __getitem__(self, key: str) -> OptimWrapper:
        if key not in self.optim_wrappers:
            raise _UnknownWrapperError(
                f"Cannot find {key} in OptimWrapperDict, which has {', '.join(self.optim_wrappers)}."
                f"{did_you_mean(str(key), self.optim_wrappers)} The constructor in optim_wrapper gives the names"
            )
        return self.optim_wrappers[key]

    def __contains__(self, key: str) -> bool:
        return key in self.optim_wrappers

    def __iter__(self) -> Iterator[str]:
        return iter(self.optim_wrappers)

    def __len__(self) -> int:
        return len(self.optim_wrappers)

    def __repr__(self) -> str:
        return "\n".join(f"name: {name}\n{wrapper!r}" for name, wrapper in self.optim_wrappers.items())
