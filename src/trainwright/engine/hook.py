"""The base of hooks in MMEngine's dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from trainwright.engine.by_hand import is_by_hand
from trainwright.engine.events import Event
from trainwright.engine.priority import Priority

DATA_BATCH = dict[Any, Any] | tuple[Any, ...] | list[Any] | None

# A hook that overrides a generic method takes part in the three events that it stands for.
GENERIC_POINTS: dict[str, tuple[Event, Event, Event]] = {
    "_before_epoch": (Event.BEFORE_TRAIN_EPOCH, Event.BEFORE_VAL_EPOCH, Event.BEFORE_TEST_EPOCH),
    "_after_epoch": (Event.AFTER_TRAIN_EPOCH, Event.AFTER_VAL_EPOCH, Event.AFTER_TEST_EPOCH),
    "_before_iter": (Event.BEFORE_TRAIN_ITER, Event.BEFORE_VAL_ITER, Event.BEFORE_TEST_ITER),
    "_after_iter": (Event.AFTER_TRAIN_ITER, Event.AFTER_VAL_ITER, Event.AFTER_TEST_ITER),
}


class Hook:
    """Something that is called at the events of a run; override what is needed, the rest costs nothing.

    Methods get the runner and the arguments shown here, by keyword. Counters on the runner are 0-based indices of
    what is running. ``priority`` orders hooks at one event, arrival breaks ties. A method that looks like an event
    (``before_*``, ``after_*``) but is none is refused when the hook is registered, unless ``extra_points`` names it
    (for events of your own, fired by ``runner.call_hook``).

    A checkpoint of several ranks holds the state of rank 0's hook, or of all where a class sets ``state_is_per_rank``.

    API of mmengine.hooks.Hook, with ``after_save_checkpoint``, ``on_exception`` and ``on_train_closed`` besides.
    """

    priority: int | str | Priority = "NORMAL"
    state_is_per_rank: ClassVar[bool] = False
    stages: ClassVar[tuple[str, ...]] = (
        "before_run",
        "after_load_checkpoint",
        "before_train",
        "before_train_epoch",
        "before_train_iter",
        "after_train_iter",
        "after_train_epoch",
        "before_val",
        "before_val_epoch",
        "before_val_iter",
        "after_val_iter",
        "after_val_epoch",
        "after_val",
        "before_save_checkpoint",
        "after_save_checkpoint",
        "after_train",
        "before_test",
        "before_test_epoch",
        "before_test_iter",
        "after_test_iter",
        "after_test_epoch",
        "after_test",
        "on_exception",
        "on_train_closed",
        "after_run",
    )
    extra_points: ClassVar[tuple[str, ...]] = ()
    # Whether its state goes back too when a guard takes training back to an earlier point (see LossGuardHook). Not that
    # of what does not: time that has passed, files on disk.
    rewinds: ClassVar[bool] = True

    def rewound(self, runner: Any) -> None:
        """Training has gone back to an earlier point, and the state of hooks with it: settle what is no part of that.

        before_train_epoch follows, and not before_train.
        """

    def before_run(self, runner: Any) -> None:
        """Before weights are initialised or loaded."""

    def after_run(self, runner: Any) -> None:
        """The last event of train, val or test."""

    def before_train(self, runner: Any) -> None:
        """Once, before the first epoch."""

    def after_train(self, runner: Any) -> None:
        """Once, after training ended without an error."""

    def before_val(self, runner: Any) -> None:
        """Before each validation."""

    def after_val(self, runner: Any) -> None:
        """After each validation."""

    def before_test(self, runner: Any) -> None:
        """Before testing."""

    def after_test(self, runner: Any) -> None:
        """After testing."""

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Before a checkpoint is written; ``checkpoint`` may be changed, and must stay tensors and plain data."""

    def after_save_checkpoint(self, runner: Any, path: str) -> None:
        """After a checkpoint has been published at ``path``."""

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """After a checkpoint was read, before anything of it is used."""

    def before_train_epoch(self, runner: Any) -> None:
        """Before each training epoch (once, in iteration-based training)."""
        self._before_epoch(runner, mode="train")

    def before_val_epoch(self, runner: Any) -> None:
        """After before_val, before the first validation batch."""
        self._before_epoch(runner, mode="val")

    def before_test_epoch(self, runner: Any) -> None:
        """After before_test, before the first test batch."""
        self._before_epoch(runner, mode="test")

    def after_train_epoch(self, runner: Any) -> None:
        """After the last iteration of each training epoch; ``runner.epoch`` is still its index."""
        self._after_epoch(runner, mode="train")

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """After the last validation batch, with the metrics of the evaluator."""
        self._after_epoch(runner, mode="val")

    def after_test_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """After the last test batch, with the metrics of the evaluator."""
        self._after_epoch(runner, mode="test")

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Before each training step."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="train")

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Before each validation step."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="val")

    def before_test_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None) -> None:
        """Before each test step."""
        self._before_iter(runner, batch_idx=batch_idx, data_batch=data_batch, mode="test")

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """After each training step; ``outputs`` are device tensors, and reading one synchronises."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="train")

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """After each validation step."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="val")

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """After each test step."""
        self._after_iter(runner, batch_idx=batch_idx, data_batch=data_batch, outputs=outputs, mode="test")

    def _before_epoch(self, runner: Any, mode: str = "train") -> None:
        """Stands for the three ``before_*_epoch``."""

    def _after_epoch(self, runner: Any, mode: str = "train") -> None:
        """Stands for the three ``after_*_epoch``."""

    def _before_iter(self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, mode: str = "train") -> None:
        """Stands for the three ``before_*_iter``."""

    def _after_iter(
        self, runner: Any, batch_idx: int, data_batch: DATA_BATCH = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        """Stands for the three ``after_*_iter``."""

    def next_train_iter(self, runner: Any) -> int | None:
        """The next iteration (an index, not before ``runner.iter``) at which after_train_iter has anything to do.

        Until then the hook is left out, and costs nothing. None, the default: every iteration. It is asked again at
        the start of each epoch and after each iteration in which a hook with an answer took part. A subclass that
        overrides ``after_train_iter`` and not this method is called in every iteration.
        """
        return None

    def on_exception(self, runner: Any, phase: str, error: BaseException) -> None:
        """A phase failed with ``error``, which is raised again after all hooks were called."""

    def on_train_closed(self, runner: Any) -> None:
        """Training is over, whether it ended, was stopped or failed."""

    def every_n_epochs(self, runner: Any, n: int, start: int = 0) -> bool:
        """Whether the running epoch is an ``n``-th one, ``start`` being the first; never when ``n`` <= 0."""
        return n > 0 and runner.epoch + 1 >= start and (runner.epoch + 1 - start) % n == 0

    def every_n_inner_iters(self, batch_idx: int, n: int) -> bool:
        """Whether the running iteration is an ``n``-th one of its epoch."""
        return n > 0 and (batch_idx + 1) % n == 0

    def every_n_train_iters(self, runner: Any, n: int, start: int = 0) -> bool:
        """Whether the running iteration is an ``n``-th one of the training, ``start`` being the first."""
        return n > 0 and runner.iter + 1 >= start and (runner.iter + 1 - start) % n == 0

    def every_n_iters(self, runner: Any, n: int, start: int = 0) -> bool:
        """``every_n_train_iters`` under MMCV's name."""
        return self.every_n_train_iters(runner, n, start)

    def end_of_epoch(self, dataloader: Any, batch_idx: int) -> bool:
        """Whether ``batch_idx`` is the last of ``dataloader``."""
        return bool(batch_idx + 1 == len(dataloader))

    def is_last_train_epoch(self, runner: Any) -> bool:
        """Whether the running epoch is the last one."""
        return bool(runner.epoch + 1 == runner.max_epochs)

    def is_last_train_iter(self, runner: Any) -> bool:
        """Whether the running iteration is the last one of the training."""
        return bool(runner.iter + 1 == runner.max_iters)

    def get_triggered_stages(self) -> list[str]:
        """The events that this hook takes part in, in the order of :attr:`stages`."""
        return [stage for stage in self.stages if overrides(self, stage)]


def _defines(hook: object, name: str) -> bool:
    if name in vars(hook):
        return True
    method = getattr(type(hook), name, None)
    return method is not getattr(Hook, name) and not is_by_hand(method)


def is_periodic(hook: object) -> bool:
    """Whether the answer of ``next_train_iter`` speaks for the hook's after_train_iter."""
    definers = [_definer(hook, name) for name in ("next_train_iter", "after_train_iter")]
    if definers[1] is Hook:  # it takes part through the generic method
        definers[1] = _definer(hook, "_after_iter")
    mro = type(hook).__mro__
    return definers[0] is not Hook and None not in definers and mro.index(definers[0]) <= mro.index(definers[1])


def _definer(hook: object, name: str) -> type | None:
    if name in vars(hook):
        return None
    return next((cls for cls in type(hook).__mro__ if name in vars(cls)), None)


def overrides(hook: object, point: str) -> bool:
    """Whether ``hook`` does anything at the event whose method is ``point``, itself or through a generic method."""
    if _defines(hook, point):
        return True
    return any(_defines(hook, generic) for generic, events in GENERIC_POINTS.items() if Event(point) in events)
