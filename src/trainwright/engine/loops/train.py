"""What the training loops share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, ClassVar

from trainwright.base.durations import whole_number
from trainwright.base.errors import ConfigError
from trainwright.dist import data_info
from trainwright.engine.core import open_phase, run_iter
from trainwright.engine.events import Phase
from trainwright.engine.loops.base import BaseLoop, limit_of, limited_length
from trainwright.engine.loops.budget import Budget
from trainwright.engine.loops.intervals import ValSchedule
from trainwright.engine.passes import read_again
from trainwright.engine.rewind import Detours, Pass, Place, begin_pass, put_states, states_of
from trainwright.state import Clock, Completing, RunContext, Stateful, StopAt, rng


class TrainLoop(BaseLoop):
    """What both training loops share: counters on the clock, the validation schedule, the place to resume from."""

    unit: ClassVar[str]  # what the loop counts, as durations name it

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        val_begin: int,
        val_interval: int | str,
        dynamic: Sequence[tuple[int, int]] | None,
        limit_batches: int | float | None = None,
    ) -> None:
        super().__init__(runner, dataloader)
        self.ctx: RunContext = runner.ctx
        self.clock: Clock = runner.ctx.clock
        if isinstance(val_interval, str):
            val_interval = whole_number(val_interval, "val_interval", self.unit)
        self.schedule = ValSchedule(val_begin, val_interval, dynamic)
        self.val_begin = val_begin
        self.limit_batches = limit_of(limit_batches, "train_cfg.limit_batches")
        self.budget: Budget | None = None  # where a time or a number of tokens ends training
        self._saved_at = 0  # iteration
        self._has_entered = False
        # Batches to read and drop before the next one is used: for loaders that cannot jump to a position.
        self.batches_to_drop = 0
        # Resumed inside a pass over a loader of the user's own: what entering it draws was drawn before.
        self.enters_quietly = False
        # For a guard that goes back in time: see trainwright.engine.rewind.
        self.detours = Detours()
        self.last_look: Callable[[], None] | None = None  # called when all iterations are done, before the last events
        # Of a loader without a position: how the pass under way began, and the one to go on in.
        self._pass: Pass | None = None
        self._pass_to_replay: Pass | None = None
        metainfo = getattr(getattr(self.dataloader, "dataset", None), "metainfo", None)
        if metainfo is not None:
            runner.visualizer.dataset_meta = metainfo

    @property
    def pass_length(self) -> int | None:
        """Batches of one pass over the loader, as far as they are used; None where nobody knows."""
        return limited_length(self.dataloader, self.limit_batches, "train_cfg.limit_batches")

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
    def dynamic_milestones(self) -> list[int]:
        """Where another validation interval begins; the first is 0."""
        return self.schedule.milestones

    @property
    def dynamic_intervals(self) -> list[int]:
        """The validation interval from each of the milestones on."""
        return self.schedule.intervals

    def _decide_current_val_interval(self) -> None:
        """The interval follows the counter by itself; loops written for MMEngine call this in each round."""

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

    def _enter_epoch(self, epoch: int, used: int = 0) -> Iterator[Any]:
        """The batches of ``epoch`` from the saved position on, up to the limit; ``used`` of them have been used."""
        loader, self._has_entered = self.dataloader, True
        if self.budget is not None and not self.budget.is_running:
            raise ConfigError(
                f"max_duration={self.budget.text!r} ends training in run() of the loops of trainwright, and "
                f"{type(self).__name__} has one of its own: call super().run() there, or train without max_duration."
            )
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        if not isinstance(loader, Stateful):
            self._pass = self._pass_to_replay or begin_pass(loader, epoch, self.clock.iter - self.batches_to_drop)
        streams, self.enters_quietly = rng.capture() if self.enters_quietly else None, False
        batches: Iterator[Any] = (
            self._replayed(loader) if self.batches_to_drop else self.runner.strategy.batches(loader)
        )
        if streams is not None:
            rng.restore(streams)
        limit = None if self.limit_batches is None else self.pass_length
        if limit is not None:
            batches = islice(batches, max(limit - used, 0))
        if self.budget is not None:
            batches = self.budget.batches(batches, self.ctx)
        return self.detours.pulling(self.clock, batches)

    def _refuse_other_batches(self) -> None:
        """Where a ``run_epoch`` of the user's took its batches past what counts and limits them."""
        if self._has_entered or (self.budget is None and self.limit_batches is None):
            return
        setting = "max_duration" if self.limit_batches is None else "limit_batches"
        raise ConfigError(
            f"train_cfg has {setting}, and {type(self).__name__} has a run_epoch() that takes its batches from the "
            f"dataloader itself, where nothing counts them: call super().run_epoch() there, or drop {setting}."
        )

    def place(self) -> Place | None:
        """Where training stands in a loader that has no position of its own; None where it has one."""
        loader, of = self.dataloader, self._pass
        if isinstance(loader, Stateful):
            return None
        done = self.clock.as_completed()
        if of is None or done.inner_iter == 0:
            return Place(self._pass_to_replay, self.batches_to_drop, states_of(loader))
        return Place(of, done.iter - of.began, states_of(loader))

    def return_to(self, place: Place) -> None:
        """Go on from there when the loader is entered next; its generators are those that it had."""
        put_states(self.dataloader, place.generators if place.of is None else place.of.generators)
        self._pass, self._pass_to_replay, self.batches_to_drop = None, place.of, place.n_batches

    def _replayed(self, loader: Any) -> Iterator[Any]:
        """The batches behind ``batches_to_drop``, of which those that the pass does not have are left; reading them
        leaves the random streams as they are."""
        self.runner.logger.warning(
            "resuming in the middle of an epoch: %d batches are read and dropped, because %s cannot jump to a "
            "position. A loader that the engine builds (train_dataloader=dict(...)) with randomness.keyed=True can.",
            self.batches_to_drop,
            type(loader).__name__,
        )
        begun, self._pass_to_replay = self._pass_to_replay, None
        length = None if self.limit_batches is None else self.pass_length
        n_used = self.batches_to_drop if length is None else min(self.batches_to_drop, length)
        batches, n_found = read_again(loader, n_used, None if begun is None else begun.streams)
        self.batches_to_drop -= n_found
        return batches

    def _validates_after(self, done: int) -> bool:
        """Whether validation follows when ``done`` units are finished."""
        if self.runner.val_loop is None:
            return False
        return self.schedule.due(done, self._units_planned()) or (self.is_spent and self._may_validate_at_end(done))

    def _may_validate_at_end(self, done: int) -> bool:
        return done >= self.val_begin

    @property
    def is_spent(self) -> bool:
        """Whether the time or the tokens of ``max_duration`` are over, which ends training."""
        return self.budget is not None and self.budget.is_spent

    @contextmanager
    def _training(self) -> Iterator[None]:
        """The frame of a training: its events, the clock of its budget, and the check of validation before it."""
        with open_phase(self.ctx, Phase.TRAIN):
            self._saved_at = self.clock.iter
            if self.budget is not None and self.budget.start(self.ctx, lambda: self.detours.has_plans):
                self.runner.logger.info("max_duration of %s is over: raise it to train on", self.budget.text)
            try:
                self._check_validation()
                yield
            finally:
                if self.budget is not None:
                    self.budget.stop()

    def _check_validation(self) -> None:
        """What ``val_cfg.sanity_batches`` asks for, where training has not begun yet."""
        loop = self.runner.val_loop
        if self.clock.iter == 0 and loop is not None and getattr(loop, "sanity_batches", None):
            loop.check()

    def _end_spent(self) -> None:
        """Where ``max_duration`` ends training, which nobody could plan: save what is saved at a planned end."""
        if self.budget is None or not self.is_spent or self._saved_at == self.clock.iter or self.ctx.stop.now:
            return
        self.runner.logger.info(
            "training ends after iteration %d: max_duration of %s is over", self.clock.iter, self.budget.text
        )
        self.runner.save_at_end()
        self._saved_at = self.clock.iter  # only now: a guard that looks before saving may have gone back

    def state_dict(self) -> dict[str, Any]:
        """What is spent of ``max_duration``; nothing without one."""
        return {} if self.budget is None else {"budget": self.budget.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what was spent."""
        if self.budget is not None and "budget" in state:
            self.budget.load_state_dict(state["budget"], data_info()[0])

    def _is_val_due(self) -> bool:
        return self._validates_after(self._units_done())

    def _validate_after_resume(self) -> None:
        """The validation that was due when the checkpoint was saved, if it is due with the settings of now too."""
        self.clock.val_due &= self._is_val_due()
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

    def _minding_detours(self, iterate: Callable[[int, Any], None]) -> Callable[[int, Any], None]:
        """``iterate``, with what is to be done at single iterations; it is itself where there is nothing."""
        skip = partial(run_iter, self.ctx, Phase.TRAIN, lambda _: self.runner.optim_wrapper.skip_loss())
        return self.detours.iterating(self.clock, iterate, skip)

    def _look_a_last_time(self) -> None:
        if self.last_look is not None:
            self.last_look()

    @classmethod
    def goes_back(cls) -> bool:
        """Whether this loop can go back in time: not where a subclass orders epochs or iterations by itself."""
        return False
