"""The two training loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from trainwright.engine.core import SpanEnd, open_phase, run_iter, run_span
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import BaseLoop, length_or_none, no_batch_error, positive_int
from trainwright.engine.loops.intervals import ValSchedule
from trainwright.registry import LOOPS
from trainwright.state import Clock, Completing, RunContext, StopAt, rng


class TrainLoop(BaseLoop):
    """What both training loops share: counters on the clock, the validation schedule, the place to resume from."""

    def __init__(
        self, runner: Any, dataloader: Any, val_begin: int, val_interval: int, dynamic: Sequence[tuple[int, int]] | None
    ) -> None:
        super().__init__(runner, dataloader)
        self.ctx: RunContext = runner.ctx
        self.clock: Clock = runner.ctx.clock
        self.schedule = ValSchedule(val_begin, val_interval, dynamic)
        self.val_begin = val_begin
        # Batches to read and drop before the next one is used: for loaders that cannot jump to a position.
        self.batches_to_drop = 0
        metainfo = getattr(getattr(self.dataloader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            runner.visualizer.dataset_meta = metainfo

    @property
    def max_epochs(self) -> int | None:
        """Planned epochs; 1 in iteration-based training."""
        return self.clock.max_epochs

    @property
    def max_iters(self) -> int | None:
        """Planned iterations; None when the loader does not know its length."""
        return self.clock.max_iters

    @property
    def epoch(self) -> int:
        """Index of the running epoch."""
        return self.clock.epoch

    @property
    def iter(self) -> int:
        """Index of the running iteration."""
        return self.clock.iter

    @property
    def _epoch(self) -> int:
        return self.clock.epoch

    @_epoch.setter
    def _epoch(self, value: int) -> None:
        self.clock.epoch, self.clock.inner_iter = value, 0
        self.clock.completing = Completing.NOTHING

    @property
    def _iter(self) -> int:
        return self.clock.iter

    @_iter.setter
    def _iter(self, value: int) -> None:
        self.clock.inner_iter += value - self.clock.iter
        self.clock.iter = value
        self.clock.completing = Completing.NOTHING

    @property
    def _max_epochs(self) -> int | None:
        return self.clock.max_epochs

    @property
    def _max_iters(self) -> int | None:
        return self.clock.max_iters

    @property
    def val_interval(self) -> int:
        """The validation interval now in force, in epochs or iterations as the loop counts."""
        return self.schedule.interval_at(self._units_done())

    @property
    def stop_training(self) -> bool:
        """Whether training is to end early; hooks set it to True."""
        return self.ctx.stop.requested

    @stop_training.setter
    def stop_training(self, value: bool) -> None:
        if value:
            self.ctx.stop.request("stop_training was set", StopAt.EPOCH)
        else:
            self.ctx.stop.clear()

    def _units_done(self) -> int:
        raise NotImplementedError

    def _units_planned(self) -> int | None:
        raise NotImplementedError

    def _enter_epoch(self, epoch: int) -> Iterator[Any]:
        """The batches of ``epoch`` from the saved position on."""
        loader = self.dataloader
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        if self.batches_to_drop:
            return self._replayed(loader)
        batches: Iterator[Any] = self.runner.strategy.batches(loader)
        return batches

    def _replayed(self, loader: Any) -> Iterator[Any]:
        """The batches behind ``batches_to_drop``; reading those leaves the random streams as they are."""
        self.runner.logger.warning(
            "resuming in the middle of an epoch: %d batches are read and dropped, because %s cannot jump to a "
            "position. A loader that the engine builds (train_dataloader=dict(...)) can.",
            self.batches_to_drop,
            type(loader).__name__,
        )
        streams = rng.capture()
        batches: Iterator[Any] = iter(loader)
        while self.batches_to_drop and next(batches, self) is not self:
            self.batches_to_drop -= 1
        self.batches_to_drop = 0
        rng.restore(streams)
        return batches

    def _validates_after(self, done: int) -> bool:
        """Whether validation follows when ``done`` units are finished."""
        return self.runner.val_loop is not None and self.schedule.due(done, self._units_planned())

    def _validate_after_resume(self) -> None:
        """The validation that was due when the checkpoint was saved, if it is due with the settings of now too."""
        self.clock.val_due &= self._validates_after(self._units_done())
        if self.clock.val_due:
            self._validate()

    def _validate(self) -> None:
        """Run the validation loop; an interrupt inside it leaves ``clock.val_due`` set.

        The random streams are put back afterwards, so that training is the same with and without validation. Not so
        with ``randomness.keyed`` False.
        """
        self.clock.val_due = True
        streams = self.ctx.training_streams = rng.capture() if self.runner.strategy.keyed else None
        try:
            self.runner.val_loop.run()
        finally:
            self.ctx.training_streams = None
        if streams is not None:
            rng.restore(streams)
        if not self.ctx.stop.now:
            self.clock.val_due = False

    def _iterate(self) -> Callable[[int, Any], None]:
        """What a span calls for each batch; the step is looked up once per span."""
        return partial(run_iter, self.ctx, Phase.TRAIN, self.runner.strategy.train_step_function())


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
