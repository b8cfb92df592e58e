"""A wrapper around each part of a model, for parts that are trained in turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainwright.base.errors import ConfigError
from trainwright.model.wrappers import MMDistributedDataParallel
from trainwright.registry import MODEL_WRAPPERS

_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


class _PartWrapper(MMDistributedDataParallel):
    """What stands in the place of a part: it has the attributes of the part too, and is no part of a copy."""

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "module":
                raise
            return getattr(self.module, name)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy(self.module, memo)


@MODEL_WRAPPERS.register_module()
class MMSeparateDistributedDataParallel(DistributedDataParallel):
    """An MMDistributedDataParallel around each child of a model (API of mmengine's class), such as the generator and
    the discriminator of a GAN, whose ``train_step`` updates them one after the other. Children without a parameter that
    is trained stay as they are.

    ``model.generator`` is the wrapper, which averages gradients over the ranks; in names of parameters and in states it
    does not show. While one child learns from the loss of another, the other's parameters must be frozen, or
    `find_unused_parameters` be True. ``kwargs`` go to each wrapper.
    """

    def __init__(
        self, module: nn.Module, broadcast_buffers: bool = False, find_unused_parameters: bool = False, **kwargs: Any
    ) -> None:
        nn.Module.__init__(self)
        if kwargs.get("detect_anomalous_params"):
            raise ConfigError(
                "detect_anomalous_params looks at the loss of the wrapper's train_step, and that of "
                f"MMSeparateDistributedDataParallel is the one of {type(module).__name__}: call "
                "trainwright.model.detect_anomalous_params(loss, part) there."
            )
        self.module = module
        self._settings = {
            "broadcast_buffers": broadcast_buffers,
            "find_unused_parameters": find_unused_parameters,
            **kwargs,
        }
        self._trainable: dict[str, list[bool]] = {}
        self.parts: dict[str, MMDistributedDataParallel] = {}
        self.follow_trainable()

    def follow_trainable(self) -> list[MMDistributedDataParallel]:
        """Wrap anew the children of which other parameters than before are trained; the new wrappers. A child that is
        frozen as a whole keeps its own: it is another one's turn."""
        made = []
        for name, child in self.module.named_children():
            now = [parameter.requires_grad for parameter in child.parameters()]
            if not any(now) or now == self._trainable.get(name):
                continue
            if isinstance(child, _CONTAINERS):
                raise ConfigError(
                    f"MMSeparateDistributedDataParallel wraps each child of {type(self.module).__name__}, and {name!r} "
                    f"is a {type(child).__name__}, which has no forward: make its members children of the model."
                )
            if name in self.parts:
                self.parts[name]._remove_autograd_hooks()  # type: ignore[no-untyped-call]
            self._trainable[name] = now
            self.parts[name] = _PartWrapper(child, **self._settings)
            # Attributes come before children, so that code of the model finds the wrapper, and everything that walks
            # over the model the child.
            vars(self.module)[name] = self.parts[name]
            made.append(self.parts[name])
        return made

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """That of the model."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, torch.Tensor]:
        """The model's own step; `optim_wrapper` is an OptimWrapperDict as a rule."""
        return self.module.train_step(data, optim_wrapper)  # type: ignore[no-any-return]

    def val_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """Predictions for the batch `data`."""
        return self.module.test_step(data)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it no part averages its gradients."""
        with ExitStack() as stack:
            for part in self.parts.values():
                stack.enter_context(part.no_sync())
            yield

    def train(self, mode: bool = True) -> MMSeparateDistributedDataParallel:
        """Set the mode of the model and of the wrappers."""
        self.training = mode
        self.module.train(mode)
        for part in self.parts.values():
            part.training = mode
        return self
