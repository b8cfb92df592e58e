"""Training counted in epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainwright.base.durations import EPOCHS
from trainwright.engine.core import SpanEnd, leave_if_interrupted, run_span
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import no_batch_error
from trainwright.engine.loops.budget import planned_end
from trainwright.engine.loops.train import TrainLoop
from trainwright.engine.rewind import run_with_rewinds
from trainwright.registry import LOOPS
from trainwright.state import Completing


@LOOPS.register_module()
class EpochBasedTrainLoop(TrainLoop):
    """Training counted in epochs, with validation between them (API of mmengine.runner.EpochBasedTrainLoop).

    Order: before_train; for each epoch: before_train_epoch, its iterations, after_train_epoch, validation when
    ``epoch >= val_begin`` and it is a ``val_interval``-th or the last; after_train. ``dynamic_intervals`` is a list
    of (epoch, interval). A subclass may override ``run_epoch`` and ``run_iter``.

    ``limit_batches`` (a number, or a fraction as a float) shortens each epoch. ``max_duration`` ('12 ep', '8 h',
    '300M tok' with ``tokens``, a key of the batch) is in place of ``max_epochs`` or, as a time or in tokens, beside it:
    then training ends in the middle of an epoch, is saved there, and a resume with a longer one goes on exactly.
    """

    unit = EPOCHS

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_epochs: int | str | None = None,
        val_begin: int = 1,
        val_interval: int | str = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        limit_batches: int | float | None = None,
        max_duration: str | None = None,
        tokens: str | Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals, limit_batches)
        clock = self.clock
        clock.max_epochs, self.budget = planned_end("max_epochs", EPOCHS, max_epochs, max_duration, tokens)
        self.measure()
        clock.validates_next = lambda: clock.completing is Completing.EPOCH and self._validates_after(clock.epoch + 1)

    def measure(self) -> None:
        """Put the length of an epoch, and of training, on the clock; ``limit_batches`` may have been changed."""
        clock = self.clock
        clock.epoch_length = self.pass_length
        known = clock.epoch_length is not None and clock.max_epochs is not None
        clock.max_iters = clock.max_epochs * clock.epoch_length if known else None  # type: ignore[operator]
        if clock.epoch_length == 0:
            raise no_batch_error()

    def _units_done(self) -> int:
        return self.clock.epoch

    def _may_validate_at_end(self, done: int) -> bool:
        return done + (self.clock.inner_iter > 0) >= self.val_begin

    def _is_val_due(self) -> bool:
        inside = self.clock.inner_iter > 0  # where only the end of max_duration validates
        return self._validates_after(self.clock.epoch) and (self.is_spent or not inside)

    def _units_planned(self) -> int | None:
        return self.clock.max_epochs

    def run(self) -> Any:
        """Train to the last epoch or until stopped; returns the model."""
        with self._training():
            run_with_rewinds(self._run_epochs)
        return self.runner.model

    def _run_epochs(self) -> None:
        clock, stop = self.clock, self.ctx.stop
        self._validate_after_resume()
        while not (self._is_over() or stop.between_epochs):
            epoch = clock.epoch
            self.run_epoch()
            self._refuse_other_batches()
            clock.val_due = (clock.epoch > epoch or self.is_spent) and self._validates_after(clock.epoch)
            if stop.now:
                break
            self._end_spent()
            if clock.val_due:
                self._validate()
        self._end_spent()
        self._look_a_last_time()

    @classmethod
    def goes_back(cls) -> bool:
        """Not where a subclass has its own ``run`` or ``run_epoch``."""
        own = EpochBasedTrainLoop
        return cls.run is own.run and cls.run_epoch is own.run_epoch and cls._run_epochs is own._run_epochs

    def _is_over(self) -> bool:
        clock, budget = self.clock, self.budget
        if clock.max_epochs is not None and clock.epoch >= clock.max_epochs:
            return True
        return budget is not None and budget.over(self.ctx, has_paused=True)

    def run_epoch(self) -> None:
        """One epoch, or what is left of it after a resume; a stop inside leaves it open."""
        ctx, clock = self.ctx, self.clock
        leave_if_interrupted(ctx)
        ctx.hooks.fire(Phase.TRAIN.before_epoch)
        ctx.hooks.let_sleep(clock.iter)
        self.runner.model.train()
        overridden = type(self).run_iter is not EpochBasedTrainLoop.run_iter
        iterate = self.run_iter if overridden else self._iterate()
        batches = self._enter_epoch(clock.epoch, clock.inner_iter)
        end = run_span(ctx, batches, self._minding_detours(iterate), start=clock.inner_iter)
        if end is SpanEnd.STOP:
            return
        self.batches_to_drop = 0
        if self.is_spent:
            if clock.inner_iter != clock.epoch_length:
                return
            clock.max_epochs = clock.epoch + 1  # hooks do at the end of this epoch what they do at the last one's
        if clock.inner_iter == 0 and not overridden:
            raise no_batch_error()
        clock.completing = Completing.EPOCH
        ctx.hooks.fire(Phase.TRAIN.after_epoch)
        clock.close_epoch()

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One iteration: before_train_iter, the step, after_train_iter."""
        leave_if_interrupted(self.ctx)
        self._iterate()(idx, data_batch)
