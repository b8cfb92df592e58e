"""Finds bad training steps, goes back to before them, and stops there, leaves the batch out or begins elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import inf
from time import perf_counter
from typing import Any, NoReturn

import torch

from trainwright.base.errors import CheckpointError, ConfigError
from trainwright.base.text import did_you_mean
from trainwright.checkpoint.step_record import write_step_record
from trainwright.dist import all_gather_object, all_reduce
from trainwright.engine import NEVER, Hook
from trainwright.engine.rewind import Detours, Rewind
from trainwright.hooks.bad_steps import (
    BadStep,
    Flushed,
    Judge,
    NormWatch,
    agreed_step,
    gradients_are_finite,
    may_hold_spoilt,
)
from trainwright.hooks.guard_texts import describe_return, record_of, stop_error
from trainwright.hooks.intervals import log_interval, whole_number
from trainwright.hooks.runtime_info_hook import RuntimeInfoHook
from trainwright.hooks.snapshots import FilePoint, Snapshot, obstacle_to_going_back
from trainwright.registry import HOOKS
from trainwright.state import host_copy

Point = Snapshot | FilePoint
_POLICIES = ("stop", "skip", "rollback")
_LIMIT_ITERS = 1000
_COST_SHARE = 100  # automatic snapshots take at most one part in so many of the time


@HOOKS.register_extra
class LossGuardHook(Hook):
    """Watches for steps that spoil a training: a loss that is NaN or infinite, with `check_gradients` a gradient norm
    that is, and with `spike_sigma` a loss that lies so many standard deviations above the mean of the last `window`
    good ones. The numbers stay on the device; they are looked at when logged values are read, every `interval`
    iterations (None: that of LoggerHook), before a checkpoint, a validation and the end, so that nothing spoilt is ever
    published. Training then goes back to before the step, bit for bit, writes ``work_dir/bad_steps/iter_<k>``, from
    which ``trainwright replay`` takes the step again, and follows `policy`:

    'stop': NonFiniteLossError or LossSpikeError; the state that is left is the last good one.
    'skip': iteration k counts, and its batch is not used: no step, ``outputs=None`` for after_train_iter. In an
    accumulation window it counts as a loss without gradient.
    'rollback': go back to the newest checkpoint of this run (else to its start) and leave out that batch, those right
    behind a spike with losses as high, and `margin` batches on both sides.

    More than `limit` bad steps in 1,000 iterations stop the run. What is left out is kept across resumes.
    `snapshot_interval`: iterations between copies of the state in the host's memory, which it goes back to; None takes
    them as often as costs 1 % of the time, 0 none but that of the start. Under a loss scaler an overflowing gradient is
    the scaler's business until its scale is below 1. For user's own loops that order iterations there is 'stop' alone,
    without going back.
    """

    priority = "LOWEST"
    rewinds = False

    def __init__(
        self,
        policy: str = "stop",
        check_gradients: bool = True,
        spike_sigma: float | None = None,
        window: int = 100,
        limit: int = 10,
        margin: int = 0,
        snapshot_interval: int | None = None,
        interval: int | None = None,
    ) -> None:
        if policy not in _POLICIES:
            hint = did_you_mean(str(policy), _POLICIES)
            raise ConfigError(f"LossGuardHook policy must be 'stop', 'skip' or 'rollback', but got {policy!r}.{hint}")
        is_number = isinstance(spike_sigma, (int, float)) and not isinstance(spike_sigma, bool)
        if spike_sigma is not None and not (is_number and 0 < spike_sigma < inf):
            raise ConfigError(
                f"LossGuardHook spike_sigma must be a number of standard deviations above 0, or None, but got "
                f"{spike_sigma!r}."
            )
        if margin and policy != "rollback":
            raise ConfigError(f"LossGuardHook margin={margin} has a meaning for policy='rollback' only.")
        self.policy, self.check_gradients = policy, check_gradients
        self.limit = whole_number(self, "limit", limit, 0)
        self.margin = whole_number(self, "margin", margin, 0)
        self.snapshot_interval = snapshot_interval
        if snapshot_interval is not None:
            whole_number(self, "snapshot_interval", snapshot_interval, 0)
        self.interval = None if interval is None else whole_number(self, "interval", interval)
        self.skipped: set[int] = set()
        self.events: list[dict[str, Any]] = []
        self._judge = Judge(spike_sigma, whole_number(self, "window", window, 20))
        self._is_on = False
        self._reset()

    def _reset(self) -> None:
        self._start: Snapshot | None = None
        self._newest: Snapshot | None = None
        self._files: list[FilePoint] = []
        self._saved: FilePoint | None = None  # what is being saved; it may be written later
        self._found: BadStep | None = None
        self._obstacle: str | None = None
        self._tree: dict[str, Any] | None = None
        self._is_busy = False  # the state is being copied: whatever is read meanwhile is looked at later
        self._seen = -1  # the iteration in which values were read last
        self._flushed: Flushed = {}
        self._taken, self._took_s = 0.0, 0.0  # when the last snapshot was taken, and how long that took

    # events -----------------------------------------------------------------------------------------------------------

    def before_train(self, runner: Any) -> None:
        """Begin to watch; ConfigError where what the policy needs cannot be done."""
        loop, metrics = runner.train_loop, runner.ctx.metrics
        if not any(isinstance(hook, RuntimeInfoHook) for hook in runner.hooks):
            raise ConfigError("LossGuardHook looks at the losses that RuntimeInfoHook puts down: keep that hook.")
        if sum(isinstance(hook, LossGuardHook) for hook in runner.hooks) > 1:
            raise ConfigError("custom_hooks has more than one LossGuardHook: one takes training back for all.")
        self._reset()
        self._obstacle = obstacle_to_going_back(loop) or runner.strategy.obstacle_to_going_back()
        if self._obstacle is not None and self.policy != "stop":
            raise ConfigError(
                f"LossGuardHook policy={self.policy!r} goes back in time, and {self._obstacle}. Use policy='stop'."
            )
        self._runner, self._is_on = runner, True
        self._interval = log_interval(runner, self.interval)
        self._judge.watch = NormWatch(runner.ctx, runner.optim_wrapper) if self.check_gradients else None
        self._finite_rule, metrics.must_be_finite, metrics.watcher = metrics.must_be_finite, None, self._watch
        if self._obstacle is None:
            loop.last_look = self._look
            loop.detours = Detours(set(self.skipped))
            self._start = self._newest = self._snapshot()

    def on_train_closed(self, runner: Any) -> None:
        """Let go of everything."""
        if not self._is_on:
            return
        self._is_on = False
        metrics, loop = runner.ctx.metrics, runner.train_loop
        if self._judge.watch is not None:
            self._judge.watch.close()
        metrics.must_be_finite, metrics.watcher = self._finite_rule, None
        if self._obstacle is None:
            loop.last_look, loop.detours = None, Detours()
        self._reset()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Look, and remember where nothing was bad."""
        if (batch_idx + 1) % self._interval == 0:
            if self._seen != runner.iter or runner.world_size > 1:
                self._look()
            self._take_snapshot(runner)

    def next_train_iter(self, runner: Any) -> int | None:
        """The next look."""
        clock = runner.ctx.clock
        return int(clock.iter + self._interval - 1 - clock.inner_iter % self._interval)

    def before_val(self, runner: Any) -> None:
        """Nothing spoilt is validated."""
        self._look()

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Nothing spoilt is saved: losses were read just before, the gradients of an open window were not."""
        if not self._is_busy:
            self._look()
            self._look_at_held()
            if self._is_on and self._obstacle is None:
                done, lengths = runner.ctx.clock.as_completed().iter, runner.ctx.metrics.lengths()
                self._saved = FilePoint(done, "", lengths, runner.train_loop.place())

    def after_save_checkpoint(self, runner: Any, path: str) -> None:
        """Remember where one can go back to; when this is known, training may be further."""
        saved, self._saved = self._saved, None
        if saved is not None:
            self._files = [file for file in self._files if file.path != path][-50:]
            self._files.append(replace(saved, path=path))

    def after_train(self, runner: Any) -> None:
        """The last look of a training that cannot go back."""
        if self._obstacle is not None:
            self._look()

    # finding ----------------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        if self._is_on:
            self._runner.ctx.metrics.flush()
            self._act()

    def _watch(self, flushed: Flushed) -> None:
        """Called inside a flush: alone, a process need not wait to act until all have looked."""
        self._seen, self._flushed = self._runner.iter, flushed
        bad = self._judge.first_bad(flushed)
        if bad is not None and (self._found is None or bad.iteration < self._found.iteration):
            self._found = bad
        if self._runner.world_size == 1 and not self._is_busy:
            self._act()

    def _act(self) -> None:
        found, self._found = self._found, None
        if self._runner.world_size > 1:
            found = self._agreed(found)
        if found is not None:
            self._handle(found)

    def _agreed(self, found: BadStep | None) -> BadStep | None:
        """The earliest bad step of all ranks, which go back together."""
        first = torch.tensor(NEVER if found is None else found.iteration, device=self._runner.strategy.device)
        all_reduce(first, "min")
        if int(first) == NEVER:
            return None
        return agreed_step(int(first), found, all_gather_object(found))

    def _all(self, flag: bool) -> bool:
        """Whether it holds on all ranks."""
        if self._runner.world_size == 1:
            return flag
        everywhere = torch.tensor(int(flag), device=self._runner.strategy.device)
        all_reduce(everywhere, "min")
        return bool(everywhere)

    def _look_at_held(self) -> None:
        """Gradients of an open accumulation window, which no norm was taken of yet."""
        if self._is_on and self.check_gradients and not self._held_are_finite():
            at = self._runner.ctx.clock.as_completed().iter - 1
            self._handle(BadStep(at, "gradient", "a gradient is not finite", *self._judge.numbers(self._flushed, at)))

    def _held_are_finite(self) -> bool:
        return self._all(gradients_are_finite([one for one in self._wrappers() if may_hold_spoilt(one)]))

    # going back -------------------------------------------------------------------------------------------------------

    def _handle(self, bad: BadStep) -> NoReturn:
        recent = [event for event in self.events if event["iteration"] > bad.iteration - _LIMIT_ITERS]
        policy = "stop" if len(recent) >= self.limit else self.policy
        if self._obstacle is not None:
            raise stop_error(bad, None, f"training did not go back to before it, because {self._obstacle}")
        raise Rewind(partial(self._return, self._points(bad.iteration), bad, policy))

    def _return(self, points: list[Point], bad: BadStep | None, policy: str) -> None:
        """Put the newest of these states that can be read in place; where there is a bad step, run up to it."""
        runner, loop = self._runner, self._runner.train_loop
        for point in sorted(points, key=lambda point: (point.iteration, isinstance(point, Snapshot)), reverse=True):
            tree = self._read(point)
            if tree is not None:
                break
        else:
            assert bad is not None
            raise stop_error(bad, None, "there is no state before it to go back to")
        own = next((name for name, hook in runner._stateful_hooks().items() if hook is self), "")
        recent = tree.get("hooks", {}).get(own, {}).get("recent", {})
        runner.logger.warning("%s", describe_return(bad, point, runner.iter, self.skipped))
        self._found, self._tree, self._seen = None, None, -1
        point.put_back(runner, tree)
        self._judge.load_state_dict(recent)
        if self._newest is not None and self._newest.iteration > point.iteration and bad is None:
            self._newest = self._start  # of a course that is not taken any more
        if bad is None:
            self._files = [file for file in self._files if file.iteration <= point.iteration]
        loop.detours = Detours(set(self.skipped))
        if bad is not None:
            self._plan(loop.detours, bad, policy, point.iteration)

    def _read(self, point: Point) -> dict[str, Any] | None:
        tree: dict[str, Any] | None = None
        try:
            tree = point.read(self._runner)
        except CheckpointError as error:
            self._runner.logger.warning("LossGuardHook cannot go back to a checkpoint: %s", error)
        return tree if self._all(tree is not None) else None

    def _plan(self, detours: Detours, bad: BadStep, policy: str, begin: int) -> None:
        detours.before_pull[bad.iteration] = self._arrive
        if bad.kind == "gradient" and any(getattr(w, "_accumulative_counts", 1) > 1 for w in self._wrappers()):
            # The norm is that of a whole window: which batch it was shows in the gradients held after each.
            for iteration in range(begin + 1, bad.iteration):
                detours.with_batch[iteration] = partial(self._probe, bad, policy)
        detours.with_batch[bad.iteration] = partial(self._decide, bad, policy)

    def _wrappers(self) -> list[Any]:
        return list(self._runner.strategy._wrappers())

    def _probe(self, bad: BadStep, policy: str, batch_idx: int, batch: Any) -> None:
        if not self._all(gradients_are_finite(self._wrappers())):
            self._blame(bad, policy)

    def _blame(self, bad: BadStep, policy: str) -> NoReturn:
        """The step just taken was it."""
        self._runner.ctx.metrics.flush()
        at = self._runner.iter - 1
        found = BadStep(at, "loss", bad.reason, *self._judge.numbers(self._flushed, at))
        raise Rewind(partial(self._return, self._points(at), found, policy))

    def _points(self, iteration: int) -> list[Point]:
        """Where one can go back to, not behind that iteration."""
        self._runner.finish_saves()  # what is being written is such a place too
        points: list[Point] = [point for point in (self._start, self._newest) if point is not None]
        return [point for point in (*points, *self._files) if point.iteration <= iteration]

    def _arrive(self) -> None:
        """The state right before the bad step; its batch has not been pulled yet."""
        self._is_busy = True
        try:
            self._tree = host_copy(self._runner.training_tree())
        finally:
            self._is_busy = False

    def _decide(self, bad: BadStep, policy: str, batch_idx: int, batch: Any) -> None:
        if bad.kind == "gradient" and not self._all(gradients_are_finite(self._wrappers())):
            self._blame(bad, policy)
        runner, k = self._runner, bad.iteration
        record = record_of(runner, bad, policy, batch_idx)
        path = f"{runner.work_dir}/bad_steps/iter_{k}" + (f"_rank_{runner.rank}" if runner.rank else "")
        assert self._tree is not None
        tree, self._tree = self._tree, None
        if runner.rank == 0 or bad.losses:
            write_step_record(path, tree, record, batch=batch, config=runner.cfg)
        event = {"iteration": k, "epoch": record.epoch, "batch_idx": batch_idx, "reason": bad.reason, "policy": policy}
        self.events.append({**event, "data_epoch": record.data_epoch, "step_dir": path})
        if policy == "stop":
            too_many = f"it is number {self.limit + 1} within {_LIMIT_ITERS} iterations, and limit={self.limit}"
            raise stop_error(bad, path, "" if self.policy == "stop" else too_many, is_kept=not runner.fast_dev_run)
        if policy == "skip":
            kept = "" if runner.fast_dev_run else f"; it is kept in {path}"
            runner.logger.warning("LossGuardHook: the batch of iteration %d is left out%s", k, kept)
            self.skipped.add(k)
            runner.train_loop.detours.skipped.add(k)
            return
        left_out = range(max(min((k, *bad.others)) - self.margin, 0), max((k, *bad.others)) + self.margin + 1)
        self.skipped.update(left_out)
        points = [point for point in self._points(left_out[0]) if point is self._start or isinstance(point, FilePoint)]
        raise Rewind(partial(self._return, points, None, policy))

    # snapshots --------------------------------------------------------------------------------------------------------

    def _take_snapshot(self, runner: Any) -> None:
        if self._obstacle is not None or self.snapshot_interval == 0 or self._newest is None:
            return
        if self.snapshot_interval is None:
            is_due = perf_counter() - self._taken >= _COST_SHARE * self._took_s
        else:
            is_due = runner.iter + 1 - self._newest.iteration >= self.snapshot_interval
        # Ranks go back together, and so to the same place; where the number of iterations says it they agree.
        if self.snapshot_interval is None:
            is_due = self._all(is_due)
        if is_due and (not self.check_gradients or self._held_are_finite()):
            self._newest = self._snapshot()

    def _snapshot(self) -> Snapshot:
        self._is_busy, begun = True, perf_counter()
        try:
            return Snapshot.take(self._runner)
        finally:
            self._is_busy = False
            self._taken = perf_counter()
            self._took_s = self._taken - begun

    # state ------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Iterations whose batches are left out, what happened, and the last good losses."""
        return {"skipped": sorted(self.skipped), "events": list(self.events), "recent": self._judge.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Leave out the same batches."""
        self.skipped, self.events = set(state["skipped"]), [dict(event) for event in state["events"]]
        self._judge.load_state_dict(state["recent"])
