"""Training counted in iterations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trainwright.engine.core import SpanEnd, open_phase, run_span
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import length_or_none, no_batch_error, positive_int
from trainwright.engine.loops.train import TrainLoop
from trainwright.registry import LOOPS
from trainwright.state import Completing, StopAt


@LOOPS.register_module()
class IterBasedTrainLoop(TrainLoop):
    """Training counted in iterations (API of mmengine.runner.IterBasedTrainLoop): the whole of it is one epoch.

    A loader that runs out is started again. Order: before_train, before_train_epoch, spans of iterations with
    validation between them, after_train_epoch, after_train. ``dynamic_intervals`` is a list of (iteration, interval).
    A subclass may override ``run_iter``.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals)
        clock = self.clock
        clock.max_epochs = 1
        clock.max_iters = positive_int(max_iters, "max_iters")
        clock.epoch_length = None

        clock.validates_next = lambda: (
            clock.completing is Completing.ITERATION and self._validates_after(clock.iter + 1)
        )

    def _units_done(self) -> int:
        return self.clock.iter

    def _units_planned(self) -> int | None:
        return self.clock.max_iters

    def run(self) -> Any:
        """Train to the last iteration or until stopped; returns the model."""
        ctx, clock = self.ctx, self.clock
        clock.inner_iter = clock.iter
        # Read before any hook runs: DistSamplerSeedHook tells the sampler the epoch of the run, which is always 0 here.
        data_epoch = int(getattr(self.dataloader, "epoch", 0))
        if self.batches_to_drop and (length := length_or_none(self.dataloader)):
            data_epoch, self.batches_to_drop = divmod(self.batches_to_drop, length)
            self._seed_sampler(data_epoch)
        with open_phase(ctx, Phase.TRAIN):
            ctx.hooks.fire(Phase.TRAIN.before_epoch)
            self._validate_after_resume()
            ctx.hooks.let_sleep(clock.iter)
            overridden = type(self).run_iter is not IterBasedTrainLoop.run_iter
            batches, entered_at = self._enter_epoch(data_epoch), -1
            while clock.iter < self._max_iters and not ctx.stop.between_epochs:  # type: ignore[operator]
                self.runner.model.train()
                iterate = (lambda _, batch: self.run_iter(batch)) if overridden else self._iterate()
                limit = self._iters_to_validation()
                # Every iteration ends a unit here: what waits for the end of an epoch stops the span too.
                end = run_span(ctx, batches, iterate, limit, start=clock.iter, boundary=StopAt.EPOCH)
                clock.val_due = end is not SpanEnd.EXHAUSTED and self._validates_after(clock.iter)
                if ctx.stop.now:
                    break
                if end is SpanEnd.EXHAUSTED:
                    data_epoch, batches, entered_at = (
                        data_epoch + 1,
                        self._next_pass(data_epoch + 1, entered_at),
                        clock.iter,
                    )
                elif clock.val_due:
                    self._validate()
            if not ctx.stop.interrupts:
                clock.completing = Completing.EPOCH
                ctx.hooks.fire(Phase.TRAIN.after_epoch)
                clock.epoch += 1
                clock.completing = Completing.NOTHING
        return self.runner.model

    def _iters_to_validation(self) -> int:
        last = int(self._max_iters)  # type: ignore[arg-type]
        if self.runner.val_loop is None:
            return last - self.clock.iter
        return self.schedule.units_to_next(self.clock.iter, last)

    def _next_pass(self, data_epoch: int, entered_at: int) -> Iterator[Any]:
        """The loader from its beginning, with the order of the next data epoch.

        The last pass was entered at iteration ``entered_at``; when it gave no batch (a first one may be over, after a
        resume) the loader is empty.
        """
        if entered_at == self.clock.iter:
            raise no_batch_error()
        self._seed_sampler(data_epoch)
        return self._enter_epoch(data_epoch)

    def _seed_sampler(self, data_epoch: int) -> None:
        sampler: Any = getattr(self.dataloader, "sampler", None)
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(data_epoch)

    def run_iter(self, data_batch: Any) -> None:
        """One iteration: before_train_iter, the step, after_train_iter."""
        self._iterate()(self.clock.iter, data_batch)
