"""The hook base of MMCV 1.x and its registry."""

from __future__ import annotations

from typing import Any, ClassVar

from trainwright.compat.mmcv1.utils.registry import Registry

HOOKS = Registry("hook")

# A method of the left is called, by default, from those on the right.
FALLS_TO = {
    "before_epoch": ("before_train_epoch", "before_val_epoch"),
    "before_iter": ("before_train_iter", "before_val_iter"),
    "after_iter": ("after_train_iter", "after_val_iter"),
    "after_epoch": ("after_train_epoch", "after_val_epoch"),
}


class Hook:
    """What is called at the stages of a run, each time as ``method(runner)``.

    The data of the moment are on the runner: ``data_batch``, ``outputs``, ``inner_iter``, ``mode``, ``data_loader``.
    The stages of training and of validation fall through to ``before_epoch``, ``before_iter``, ``after_iter`` and
    ``after_epoch``. ``priority`` is reserved: the runner sets it when the hook is registered.
    """

    priority: int
    stages: ClassVar[tuple[str, ...]] = (
        "before_run",
        "before_train_epoch",
        "before_train_iter",
        "after_train_iter",
        "after_train_epoch",
        "before_val_epoch",
        "before_val_iter",
        "after_val_iter",
        "after_val_epoch",
        "after_run",
    )

    def before_run(self, runner: Any) -> None:
        pass

    def after_run(self, runner: Any) -> None:
        pass

    def before_epoch(self, runner: Any) -> None:
        pass

    def after_epoch(self, runner: Any) -> None:
        pass

    def before_iter(self, runner: Any) -> None:
        pass

    def after_iter(self, runner: Any) -> None:
        pass

    def before_train_epoch(self, runner: Any) -> None:
        self.before_epoch(runner)

    def before_val_epoch(self, runner: Any) -> None:
        self.before_epoch(runner)

    def after_train_epoch(self, runner: Any) -> None:
        self.after_epoch(runner)

    def after_val_epoch(self, runner: Any) -> None:
        self.after_epoch(runner)

    def before_train_iter(self, runner: Any) -> None:
        self.before_iter(runner)

    def before_val_iter(self, runner: Any) -> None:
        self.before_iter(runner)

    def after_train_iter(self, runner: Any) -> None:
        self.after_iter(runner)

    def after_val_iter(self, runner: Any) -> None:
        self.after_iter(runner)

    def every_n_epochs(self, runner: Any, n: int) -> bool:
        return n > 0 and (runner.epoch + 1) % n == 0

    def every_n_inner_iters(self, runner: Any, n: int) -> bool:
        return n > 0 and (runner.inner_iter + 1) % n == 0

    def every_n_iters(self, runner: Any, n: int) -> bool:
        return n > 0 and (runner.iter + 1) % n == 0

    def end_of_epoch(self, runner: Any) -> bool:
        """Whether this is the last iteration of its epoch."""
        return bool(runner.inner_iter + 1 == len(runner.data_loader))

    def is_last_epoch(self, runner: Any) -> bool:
        return bool(runner.epoch + 1 == runner._max_epochs)

    def is_last_iter(self, runner: Any) -> bool:
        return bool(runner.iter + 1 == runner._max_iters)

    def idle_at(self, stage: str) -> bool:
        """Whether this hook's settings leave nothing to do at `stage`: it is not called there then.

        Asked when the run begins, so it must not depend on what changes later.
        """
        return False

    def get_triggered_stages(self) -> list[str]:
        """The stages, in their order, at which this hook's class does something."""
        triggered = {stage for stage in Hook.stages if overridden(self, stage)}
        for method, stages in FALLS_TO.items():
            if overridden(self, method):
                triggered.update(stages)
        return [stage for stage in Hook.stages if stage in triggered]


def overridden(hook: Hook, name: str) -> bool:
    """Whether the class of ``hook`` has a method ``name`` of its own."""
    return getattr(type(hook), name, None) is not getattr(Hook, name)


def is_method_of(kind: type[Hook], hook: Hook, name: str) -> bool:
    """Whether ``hook.name`` is the method of ``kind``, and none that a subclass or somebody else has put there."""
    return getattr(getattr(hook, name), "__func__", None) is getattr(kind, name)
