"""Training counted in epochs."""

from __future__ import annotations

from typing import Any

from trainwright.engine.core import SpanEnd, open_phase, run_span
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import length_or_none, no_batch_error, positive_int
from trainwright.engine.loops.train import TrainLoop
from trainwright.registry import LOOPS
from trainwright.state import Completing


@LOOPS.register_module()
class EpochBasedTrainLoop(TrainLoop):
    """Training counted in epochs, with validation between them (API of mmengine.runner.EpochBasedTrainLoop).

    Order: before_train; for each epoch: before_train_epoch, its iterations, after_train_epoch, validation when
    ``epoch >= val_begin`` and it is a ``val_interval``-th or the last; after_train. ``dynamic_intervals`` is a list
    of (epoch, interval). A subclass may override ``run_epoch`` and ``run_iter``.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        clock = self.clock
        clock.max_epochs = positive_int(max_epochs, "max_epochs")
        clock.epoch_length = length_or_none(self.dataloader)
        clock.max_iters = None if clock.epoch_length is None else clock.max_epochs * clock.epoch_length
        if clock.epoch_length == 0:
            raise no_batch_error()

        clock.validates_next = lambda: clock.completing is Completing.EPOCH and self._validates_after(clock.epoch + 1)

    def _units_done(self) -> int:
        return self.clock.epoch

    def _units_planned(self) -> int | None:
        return self.clock.max_epochs

    def run(self) -> Any:
        """Train to the last epoch or until stopped; returns the model."""
        clock, stop = self.clock, self.ctx.stop
        with open_phase(self.ctx, Phase.TRAIN):
            self._validate_after_resume()
            while clock.epoch < self._max_epochs and not stop.between_epochs:  # type: ignore[operator]
                epoch = clock.epoch
                self.run_epoch()
                clock.val_due = clock.epoch > epoch and self._validates_after(clock.epoch)
                if stop.now:
                    break
                if clock.val_due:
                    self._validate()
        return self.runner.model

    def run_epoch(self) -> None:
        """One epoch, or what is left of it after a resume; a stop inside leaves it open."""
        ctx, clock = self.ctx, self.clock
        ctx.hooks.fire(Phase.TRAIN.before_epoch)
        ctx.hooks.let_sleep(clock.iter)
        self.runner.model.train()
        overridden = type(self).run_iter is not EpochBasedTrainLoop.run_iter
        iterate = self.run_iter if overridden else self._iterate()
        end = run_span(ctx, self._enter_epoch(clock.epoch), iterate, start=clock.inner_iter)
        if end is SpanEnd.STOP:
            return
        if clock.inner_iter == 0 and not overridden:
            raise no_batch_error()
        clock.completing = Completing.EPOCH
        ctx.hooks.fire(Phase.TRAIN.after_epoch)
        clock.close_epoch()

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One iteration: before_train_iter, the step, after_train_iter."""
        self._iterate()(idx, data_batch)
