"""The learning rate: stepped each iteration, and logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import LambdaLR

from trainwright.base.errors import HookError
from trainwright.trainer.hook_base import HookBase


class LRScheduler(HookBase):
    """Puts the learning rate as ``lr`` and steps the scheduler, after each iteration.

    ``optimizer`` and ``scheduler`` are the trainer's where they are None. The scheduler is one of torch's, one of
    trainwright.optim's, or a function of the progress in [0, 1] that gives a factor of the
    initial learning rate (fvcore's ParamScheduler is one).

    Register what saves checkpoints after it, so that they hold the state after the step.
    """

    def __init__(self, optimizer: Any = None, scheduler: Any = None) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._best_param_group_id = 0

    @property
    def scheduler(self) -> Any:
        """The one given, or the trainer's."""
        return self._of_trainer("scheduler") if self._scheduler is None else self._scheduler

    def _of_trainer(self, name: str) -> Any:
        found = getattr(self.trainer, name, None)
        if found is None:
            raise HookError(
                f"LRScheduler has no {name}: it was given none, and the trainer has none. Give it "
                f"LRScheduler({name}=...), or set trainer.{name} before training."
            )
        return found

    def before_train(self) -> None:
        """Find the optimizer, and the parameter group whose learning rate is shown."""
        if self._optimizer is None:
            self._optimizer = self._of_trainer("optimizer")
        scheduler = self.scheduler
        if not hasattr(scheduler, "step") and callable(scheduler):
            self._scheduler = _of_progress(self._optimizer, scheduler, self.trainer.iter, self.trainer.max_iter)
        self._best_param_group_id = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: Any) -> int:
        """The index of the group whose learning rate stands for all: the one with most parameters, or where each has
        but one, the first with the most common learning rate."""
        groups = optimizer.param_groups
        sizes = [len(group["params"]) for group in groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [float(group["lr"]) for group in groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:
        """Log the learning rate that the iteration had, and go on to the next one's."""
        rate = self._optimizer.param_groups[self._best_param_group_id]["lr"]
        self.trainer.storage.put_scalar("lr", rate, False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The scheduler's state; empty for what has none."""
        scheduler = self.scheduler
        return dict(scheduler.state_dict()) if hasattr(scheduler, "state_dict") else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scheduler's state. A function of the progress has none: it goes on from trainer.iter."""
        scheduler = self.scheduler
        if state_dict and hasattr(scheduler, "load_state_dict"):
            scheduler.load_state_dict(state_dict)


def _of_progress(optimizer: Any, factor: Callable[[float], float], start: int, max_iter: int) -> LambdaLR:
    return LambdaLR(optimizer, lambda iteration: factor(iteration / max_iter), last_epoch=start - 1)
