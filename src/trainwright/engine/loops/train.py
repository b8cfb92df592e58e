"""What the training loops share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from trainwright.engine.core import run_iter
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import BaseLoop
from trainwright.engine.loops.intervals import ValSchedule
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
