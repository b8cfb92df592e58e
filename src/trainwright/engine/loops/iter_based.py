"""Training counted in iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from trainwright.base.durations import ITERATIONS
from trainwright.engine.core import SpanEnd, leave_if_interrupted, run_span
from trainwright.engine.dispatch import NEVER
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import ends_by_itself, no_batch_error
from trainwright.engine.loops.budget import planned_end
from trainwright.engine.loops.endless import EarlyStart, EndlessBatches
from trainwright.engine.loops.train import TrainLoop
from trainwright.engine.passes import tell_sampler
from trainwright.engine.rewind import Pass, run_with_rewinds
from trainwright.registry import LOOPS
from trainwright.state import Completing, StopAt


@LOOPS.register_module()
class IterBasedTrainLoop(TrainLoop):
    """Training counted in iterations (API of mmengine.runner.IterBasedTrainLoop): the whole of it is one epoch.

    A loader that runs out is started again. Order: before_train, before_train_epoch, spans of iterations with
    validation between them, after_train_epoch, after_train. ``dynamic_intervals`` is a list of (iteration, interval).
    A subclass may override ``run_iter``.

    ``limit_batches`` (a number, or a fraction as a float) shortens each pass over the loader. ``max_duration``
    ('90k it', '8 h', '300M tok' with ``tokens``, a key of the batch) is in place of ``max_iters`` or, as a time or in
    tokens, beside it.
    """

    unit = ITERATIONS

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        max_iters: int | str | None = None,
        val_begin: int = 1,
        val_interval: int | str = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        limit_batches: int | float | None = None,
        max_duration: str | None = None,
        tokens: str | Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(runner, dataloader, val_begin, val_interval, dynamic_intervals, limit_batches)
        clock = self.clock
        clock.max_epochs = 1
        clock.max_iters, self.budget = planned_end("max_iters", ITERATIONS, max_iters, max_duration, tokens)
        clock.epoch_length = None
        self._pass_began = 0  # at that iteration the running pass would have begun
        self._used_of_pass = 0  # when resumed
        self._endless: EndlessBatches | None = None
        self._start = EarlyStart(runner, self.dataloader)

        clock.validates_next = lambda: (
            clock.completing is Completing.ITERATION and self._validates_after(clock.iter + 1)
        )

    def _units_done(self) -> int:
        return self.clock.iter

    def _units_planned(self) -> int | None:
        return self.clock.max_iters

    @property
    def dataloader_iterator(self) -> Iterator[Any]:
        """Batches without end, for a ``run`` of a subclass's own; this class's reads the loader in passes."""
        if self._endless is None:
            with self._start.again():
                self._endless = EndlessBatches(self.dataloader)
        return self._endless

    def run(self) -> Any:
        """Train to the last iteration or until stopped; returns the model."""
        self.clock.inner_iter = self.clock.iter
        with self._training():
            run_with_rewinds(self._run_iters)
        return self.runner.model

    def _run_iters(self) -> None:
        ctx, clock = self.ctx, self.clock
        clock.inner_iter = clock.iter
        # Read before any hook runs: DistSamplerSeedHook tells the sampler the epoch of the run, which is always 0 here.
        data_epoch = int(getattr(self.dataloader, "epoch", 0))
        ctx.hooks.fire(Phase.TRAIN.before_epoch)
        self._validate_after_resume()
        ctx.hooks.let_sleep(clock.iter)
        overridden = type(self).run_iter is not IterBasedTrainLoop.run_iter
        data_epoch, batches = self._first_pass(data_epoch)
        entered_at = -1
        while not (self._is_over() or ctx.stop.between_epochs):
            self.runner.model.train()
            iterate = (lambda _, batch: self.run_iter(batch)) if overridden else self._iterate()
            limit = self._iters_to_validation()
            # Every iteration ends a unit here: what waits for the end of an epoch stops the span too.
            iterate = self._minding_detours(iterate)
            end = run_span(ctx, batches, iterate, limit, start=clock.iter, boundary=StopAt.EPOCH)
            spent = self.budget is not None and self.budget.over(ctx)
            clock.val_due = (spent or end is not SpanEnd.EXHAUSTED) and self._validates_after(clock.iter)
            if ctx.stop.now:
                break
            self._end_spent()
            if end is SpanEnd.EXHAUSTED and not spent:
                data_epoch += 1
                batches, entered_at = self._next_pass(data_epoch, entered_at), clock.iter
            elif clock.val_due:
                self._validate()
        self._end_spent()
        self._look_a_last_time()
        if not ctx.stop.interrupts:
            clock.completing = Completing.EPOCH
            ctx.hooks.fire(Phase.TRAIN.after_epoch)
            clock.epoch += 1
            clock.completing = Completing.NOTHING

    @classmethod
    def goes_back(cls) -> bool:
        """Not where a subclass has its own ``run``."""
        return cls.run is IterBasedTrainLoop.run and cls._run_iters is IterBasedTrainLoop._run_iters

    def _is_over(self) -> bool:
        clock, budget = self.clock, self.budget
        if clock.max_iters is not None and clock.iter >= clock.max_iters:
            return True
        return budget is not None and budget.over(self.ctx, has_paused=True)

    def _iters_to_validation(self) -> int:
        last = NEVER if self._max_iters is None else self._max_iters
        if self.runner.val_loop is None:
            return last - self.clock.iter
        return self.schedule.units_to_next(self.clock.iter, last)

    def _first_pass(self, data_epoch: int) -> tuple[int, Iterator[Any]]:
        """The data epoch that this training begins in, or goes on in, and what is left of it."""
        used, self._used_of_pass = self._used_of_pass, 0
        if self._pass_to_replay is not None:
            return self._pass_again(self._pass_to_replay)
        ends = ends_by_itself(self.dataloader)
        if self.batches_to_drop and ends:
            data_epoch, used = divmod(self.batches_to_drop, int(self.pass_length or 1))
            self.batches_to_drop = used
            tell_sampler(self.dataloader, data_epoch)
        while self.batches_to_drop and not ends:
            # How many batches a pass has is found out by reading it.
            used = self.batches_to_drop
            batches = self._enter_epoch(data_epoch, used)
            if not self.batches_to_drop:
                self._pass_began = self.clock.iter - used
                return data_epoch, batches
            if self.batches_to_drop == used:
                raise no_batch_error()
            data_epoch += 1
            tell_sampler(self.dataloader, data_epoch)
        self._pass_began = self.clock.iter - used
        with self._start.again():
            return data_epoch, self._enter_epoch(data_epoch, used)

    def _pass_again(self, of: Pass) -> tuple[int, Iterator[Any]]:
        self._pass_began = of.began
        tell_sampler(self.dataloader, of.data_epoch)
        return of.data_epoch, self._enter_epoch(of.data_epoch, self.clock.iter - of.began)

    def state_dict(self) -> dict[str, Any]:
        """What is spent of ``max_duration``, and where ``limit_batches`` is set, how much of the running pass."""
        state = super().state_dict()
        if self.limit_batches is not None:
            state["used_of_pass"] = self.clock.as_completed().iter - self._pass_began
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict(state)
        self._used_of_pass = int(state.get("used_of_pass", 0))

    def _next_pass(self, data_epoch: int, entered_at: int) -> Iterator[Any]:
        """The loader from its beginning, with the order of the next data epoch.

        The last pass was entered at iteration ``entered_at``; when it gave no batch (a first one may be over, after a
        resume) the loader is empty.
        """
        if entered_at == self.clock.iter:
            raise no_batch_error()
        tell_sampler(self.dataloader, data_epoch)
        self._pass_began = self.clock.iter
        return self._enter_epoch(data_epoch)

    def run_iter(self, data_batch: Any) -> None:
        """One iteration: before_train_iter, the step, after_train_iter."""
        leave_if_interrupted(self.ctx)
        self._iterate()(self.clock.iter, data_batch)
