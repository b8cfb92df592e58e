"""Functions as a hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.trainer.hook_base import HookBase

Callback = Callable[[Any], object]


class CallbackHook(HookBase):
    """Calls each function with the trainer, at the moment of its name."""

    def __init__(
        self,
        *,
        before_train: Callback | None = None,
        after_train: Callback | None = None,
        before_step: Callback | None = None,
        after_step: Callback | None = None,
        after_backward: Callback | None = None,
    ) -> None:
        self._before_train = before_train
        self._after_train = after_train
        self._before_step = before_step
        self._after_step = after_step
        self._after_backward = after_backward

    def before_train(self) -> None:
        """Before the first iteration."""
        if self._before_train is not None:
            self._before_train(self.trainer)

    def after_train(self) -> None:
        """After the last iteration, or after a failure."""
        if self._after_train is not None:
            self._after_train(self.trainer)

    def before_step(self) -> None:
        """Before each iteration."""
        if self._before_step is not None:
            self._before_step(self.trainer)

    def after_step(self) -> None:
        """After each iteration."""
        if self._after_step is not None:
            self._after_step(self.trainer)

    def after_backward(self) -> None:
        """After each backward pass, before the optimizer's step."""
        if self._after_backward is not None:
            self._after_backward(self.trainer)
