"""A training whose machine or time is taken away: it is saved, and ends with a code that asks to be started again."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from trainwright.base.errors import ConfigError, Preempted
from trainwright.dist import all_gather_object
from trainwright.engine import Phase
from trainwright.hooks import IterTimerHook
from trainwright.io.atomic import atomic_write_text
from trainwright.runner import slurm
from trainwright.runner.agreement import StopAgreement, agree_on_stops
from trainwright.runner.preemption_cfg import PreemptionCfg
from trainwright.state import StopFlag

MARKER = ".requeue"
SAYS_EVERY_S = 30.0
_THIRD = "{} is the third signal"
_listening: list[Preemption] = []
_programs: list[PreemptionCfg] = []
_trainings: list[Preemption] = []


class Preemption:
    """Of one training: which signals came, how much time is left, and what is waited for.

    Signal handlers set flags and do nothing else. A thread, which sleeps until a signal comes, writes the messages and
    keeps the deadline; it hears of a signal even while the main thread is kept in a call that does not return.
    """

    def __init__(self, runner: Any, cfg: PreemptionCfg) -> None:
        self.runner, self.cfg = runner, cfg
        self.stage = "bring-up"
        self.n_signals = 0
        self.reason = ""
        self.deadline: float | None = None  # of the monotonic clock
        self._job_end: float | None = None
        self._stops_at: float | None = None
        self._numbers = [signal.Signals[name] for name in cfg.signals]
        self._heard_at: float | None = None
        self._heard = ""

    # -- the flags ---------------------------------------------------------------------------------------------------
    def _on_signal(self, number: int, frame: Any) -> None:
        self.n_signals += 1
        if self.n_signals > 2:
            self._end_process(_THIRD.format(signal.Signals(number).name))
        if self.n_signals > 1:
            return
        self._ask(signal.Signals(number).name)
        # Nothing is worth saving yet. Several ranks decide at the beginning of the loop: one alone cannot leave.
        if self.stage == "bring-up" and not self.runner.ctx.stop.is_agreed:
            raise self.too_early()

    def _ask(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            if self.deadline is None and self.cfg.deadline_s is not None:
                self.deadline = monotonic() + self.cfg.deadline_s
            self.runner.ctx.stop.wish(reason, requeues=True)

    def ask_again(self) -> None:
        """After the stop flag was cleared for a run that goes on from an earlier iteration."""
        if self.reason:
            self.runner.ctx.stop.wish(self.reason, requeues=True)

    def lets_validation_end(self) -> bool:
        """Whether a validation runs that may be expected to end in half of the time that is left."""
        if not self.reason or self.n_signals > 1 or self.deadline is None:
            return False
        if Phase.VAL not in self.runner.ctx.open_phases:
            return False
        timer = next((hook for hook in self.runner.hooks if isinstance(hook, IterTimerHook)), None)
        left = None if timer is None else timer.validation(self.runner)[2]
        return left is not None and left <= (self.deadline - monotonic()) / 2

    def too_early(self, reason: str = "") -> Preempted:
        """What is raised where training has not begun."""
        return Preempted(
            f"the run was stopped ({reason or self.reason}) before training began; nothing was saved.",
            exit_code=self.cfg.exit_code,
        )

    def refuse_to_begin(self) -> None:
        """Raise on all ranks where one of them was asked to stop before training began."""
        asked = all_gather_object(self.reason) if self.runner.ctx.stop.is_agreed else [self.reason]
        if any(asked):
            raise self.too_early(next(filter(None, asked)))
        self.stage = "training"

    # -- listening ---------------------------------------------------------------------------------------------------
    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals, in the main thread; what handled them before does so again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._plan_for_end_of_job()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        thread = threading.Thread(target=self._watch, args=(reader,), name="trainwright-preemption", daemon=True)
        thread.start()
        before = {number: signal.getsignal(number) for number in self._numbers}
        wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        _listening.append(self)
        try:
            for number in self._numbers:
                signal.signal(number, self._on_signal)
            yield
        finally:
            for number, handler in before.items():
                ignored = signal.SIG_IGN if _programs else handler
                signal.signal(number, signal.SIG_DFL if ignored is None else ignored)
            signal.set_wakeup_fd(wakeup)
            _listening.remove(self)
            os.write(writer, b"\0")  # no signal has this number
            thread.join()
            os.close(reader)
            os.close(writer)

    def _plan_for_end_of_job(self) -> None:
        end = slurm.end_time() if self.cfg.end_margin_s else None
        if end is None:
            return
        self._job_end = monotonic() + end - time.time()
        self._stops_at = self._job_end - self.cfg.end_margin_s
        self.runner.logger.info(
            "the SLURM job ends in %d s: training stops and is saved %g s before (env_cfg preemption end_margin_s)",
            end - time.time(),
            self.cfg.end_margin_s,
        )

    def _watch(self, reader: int) -> None:
        says_at: float | None = None
        n_signals = 0
        while True:
            times = [at for at in (self.deadline, says_at, self._stops_at) if at is not None]
            timeout = max(min(times) - monotonic(), 0) if times else None
            if select.select([reader], [], [], timeout)[0]:
                numbers = os.read(reader, 64)
                if 0 in numbers:
                    return
                heard = [number for number in numbers if number in self._numbers]
                n_signals += len(heard)
                if n_signals > 2:  # the main thread may be unable to do it
                    self._end_process(_THIRD.format(signal.Signals(heard[-1]).name))
                if heard and self._heard_at is None:
                    says_at = self._hear(signal.Signals(heard[0]).name)
                continue
            now = monotonic()
            if self.deadline is not None and now >= self.deadline:
                self._end_process("the deadline has passed")
            if self._stops_at is not None and now >= self._stops_at:
                self._stops_at, self.deadline = None, self._job_end
                self._ask("the SLURM job is about to end")
                says_at = self._hear(self.reason)
            elif says_at is not None and now >= says_at:
                self._say("still waiting for")
                says_at = now + self._pause()

    def _hear(self, reason: str) -> float:
        self._heard_at, self._heard = monotonic(), reason
        if self.deadline is None and self.cfg.deadline_s is not None:
            self.deadline = self._heard_at + self.cfg.deadline_s
        self._say("waiting for")
        return self._heard_at + self._pause()

    def _pause(self) -> float:
        left = SAYS_EVERY_S if self.deadline is None else (self.deadline - monotonic()) / 2
        return max(min(SAYS_EVERY_S, left), 0.5)

    def _say(self, what: str) -> None:
        left = "" if self.deadline is None else f"; the process ends in {max(self.deadline - monotonic(), 0):.0f} s"
        self.runner.logger.warning(
            "%s: %s %s, to save and to end with exit code %d%s",
            self._heard,
            what,
            self._awaited(),
            self.cfg.exit_code,
            left,
        )

    def _awaited(self) -> str:
        if self.stage != "training":
            return self.stage
        if Phase.VAL in self.runner.ctx.open_phases:
            return "the validation"
        return f"the end of iteration {self.runner.ctx.clock.iter + 1}"

    def _end_process(self, why: str) -> None:
        """End now, in the middle of whatever runs. What is published stays; a file that is being written has no name
        yet."""
        text = f"{why}, while waiting for {self._awaited()}: the process ends here. A resume goes on from the newest "
        os.write(2, f"{text}checkpoint in {self.runner.work_dir}\n".encode())
        try:
            self.leave_marker(None)
        finally:
            os._exit(self.cfg.exit_code)

    # -- the marker --------------------------------------------------------------------------------------------------
    @property
    def marker(self) -> str:
        """The file that says that the run is to be started again."""
        return os.path.join(self.runner.work_dir, MARKER)

    def leave_marker(self, checkpoint: str | None) -> None:
        """Write the marker, on rank 0; not for a fast dev run, which is not taken up."""
        runner = self.runner
        if runner.rank != 0 or runner.fast_dev_run:
            return
        facts = {
            "reason": self.reason or runner.ctx.stop.reason,
            "iter": runner.ctx.clock.iter,
            "epoch": runner.ctx.clock.epoch,
            "checkpoint": checkpoint,
            "command": runner.resume_command or shlex.join(sys.orig_argv),
            "exit_code": self.cfg.exit_code,
            "slurm_job": slurm.job_id(),
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        atomic_write_text(self.marker, json.dumps(facts, indent=2) + "\n")

    def end(self, stopped: Preempted) -> None:
        """Everything is saved: leave the marker, and have SLURM start the job again where that is wished."""
        self.leave_marker(stopped.checkpoint)
        job, logger = slurm.job_id(), self.runner.logger
        if not self.cfg.requeue or self.runner.rank != 0 or self.runner.fast_dev_run:
            return
        if job is None:
            logger.warning("preemption requeue=True has no effect: this is no SLURM job")
            return
        code, said = slurm.scontrol("requeue", job)
        if code:
            logger.warning("scontrol requeue %s failed: %s", job, said or f"exit code {code}")
        else:
            logger.info("SLURM was asked to start job %s again", job)


@contextmanager
def preemptible(runner: Any) -> Iterator[None]:
    """A training, from its bring-up to its last hook."""
    stop: StopFlag = runner.ctx.stop
    stop.clear()  # before any hook runs: one may ask for a stop in before_run
    agree_on_stops(runner)
    own = runner.preemption = Preemption(runner, PreemptionCfg.from_cfg(runner.strategy.preemption))
    if runner.rank == 0 and os.path.exists(own.marker):
        os.unlink(own.marker)  # whoever read it has started this run
    _warn_of_agent(runner, own.cfg)
    _trainings.append(own)
    try:
        with own.listening():
            try:
                yield
            except Preempted as stopped:
                own.end(stopped)
                raise
    finally:
        _trainings.remove(own)
        for hook in runner.hooks:
            if isinstance(hook, StopAgreement):
                hook.end()


def ask_to_stop(reason: str, requeues: bool) -> bool:
    """From any thread: ask the trainings of this process to stop, as SIGTERM does where they are to be started again,
    and Ctrl-C where not. Returns whether there was one to ask."""
    for own in _trainings:
        if requeues:
            own._ask(reason)
        else:
            own.runner.ctx.stop.wish(reason)
    return bool(_trainings)


def _warn_of_agent(runner: Any, cfg: PreemptionCfg) -> None:
    """Torchrun dies of a signal that it does not handle, and its ranks go on without it."""
    handled = os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE")
    if handled is None or "TORCHELASTIC_RUN_ID" not in os.environ or runner.rank != 0:
        return
    missing = [name for name in cfg.signals if name not in handled.split(",")]
    if missing:
        say = runner.logger.warning if slurm.job_id() else runner.logger.info
        say(
            "torchrun does not pass %s on, and dies of it: start it with --signals-to-handle %s",
            ", ".join(missing),
            ",".join([*handled.split(","), *missing]),
        )


@contextmanager
def sigint_sets(stop: StopFlag) -> Iterator[None]:
    """The first Ctrl-C only sets the flag; a second one interrupts at once, as Python does.

    Signal handlers exist in the main thread alone; in another thread nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def handler(number: int, frame: Any) -> None:
        if stop.wished or (stop.interrupts and not stop.returns):
            raise KeyboardInterrupt
        stop.wish("Ctrl-C")

    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def program(settings: dict[str, Any] | None = None) -> Iterator[None]:
    """Around a program that trains once and ends: a signal before training raises Preempted too, and one after it
    changes nothing, neither the exit code nor what is written at the end. Wrong settings are left to the Runner."""
    cfg = PreemptionCfg()
    with suppress(ConfigError, TypeError):
        cfg = PreemptionCfg.from_cfg(settings)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.Signals[name] for name in cfg.signals]

    def handler(number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        raise Preempted(f"the run was stopped ({name}) before training began.", exit_code=cfg.exit_code)

    for number in numbers:
        signal.signal(number, handler)
    _programs.append(cfg)
    try:
        yield
    finally:
        _programs.remove(cfg)
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)


def _forget() -> None:
    """In a forked process, a loader's worker for instance, signals are not those of the training."""
    for own in _listening:
        signal.set_wakeup_fd(-1)
        for number in own._numbers:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    _listening.clear()


os.register_at_fork(after_in_child=_forget)
