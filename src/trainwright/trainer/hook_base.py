"""What a hook of a trainer is, and how it is spoken to (API of detectron2's HookBase)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from trainwright.base.text import did_you_mean
from trainwright.engine import Dialect, Event

POINTS = {
    Event.BEFORE_TRAIN: "before_train",
    Event.BEFORE_TRAIN_ITER: "before_step",
    Event.AFTER_TRAIN_ITER: "after_step",
    Event.TRAIN_CLOSED: "after_train",
}
METHODS = (*POINTS.values(), "after_backward")


class HookBase:
    """What happens around the steps of a trainer; the methods are called in this order::

        hook.before_train()
        for iteration in range(start_iter, max_iter):
            hook.before_step()
            trainer.run_step()  # calls hook.after_backward() between the backward and the optimizer's step
            hook.after_step()
        hook.after_train()  # also after a failure

    ``trainer`` is a weak proxy of the trainer, set by ``register_hooks``. What is not overridden costs nothing. What
    takes long belongs into ``after_step`` rather than ``before_step``: timers count on that.

    A hook with a state has ``state_dict`` and ``load_state_dict``. ``saves_state`` says that it saves checkpoints:
    where there are several ranks and all of them have such hooks, what a rank has of its own is saved too.
    """

    trainer: Any = None
    saves_state: ClassVar[bool] = False

    def before_train(self) -> None:
        """Before the first iteration."""

    def after_train(self) -> None:
        """After the last iteration, or after a failure; only after success ``trainer.iter == trainer.max_iter``."""

    def before_step(self) -> None:
        """Before each iteration."""

    def after_backward(self) -> None:
        """After the backward of each iteration, before the optimizer's step."""

    def after_step(self) -> None:
        """After each iteration."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this hook, as tensors and plain data."""
        return {}


def is_overridden(owner: object, base: type, name: str) -> bool:
    """Whether ``owner`` has a method of that name other than the one of ``base``."""
    # Not type(owner), which is another one for a weak proxy.
    return name in getattr(owner, "__dict__", ()) or getattr(owner.__class__, name) is not getattr(base, name)


def takes_part(hook: object, name: str) -> bool:
    """Whether a hook does anything at that point."""
    return is_overridden(hook, HookBase, name)


def _bind(method: Callable[[], None], parameters: tuple[str, ...]) -> Callable[..., None]:
    """The hooks of this dialect are called without anything."""
    return lambda host, *values: method()


DETECTRON2 = Dialect(HookBase, POINTS, takes_part, _bind)


def say_strange_points(hook: HookBase) -> None:
    """Warn of methods that look like points and are none: they may be somebody's own, or a slip."""
    found = {name for cls in type(hook).__mro__ for name, member in vars(cls).items() if callable(member)}
    known = {*METHODS, *getattr(hook, "extra_points", ())}
    for name in sorted(name for name in found - known if name.startswith(("before_", "after_"))):
        logging.getLogger(__name__).warning(
            "%s.%s looks like a hook point, and a trainer has none of that name: it is never called.%s If it is your "
            "own, set extra_points = (%r,) on the class.",
            *(type(hook).__name__, name, did_you_mean(name, known), name),
        )
