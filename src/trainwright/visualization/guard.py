"""What keeps a writer's trouble away from training."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Event, Thread
from weakref import finalize

from trainwright.base.logs import print_log
from trainwright.state.rng import set_aside


class _Job:
    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.context = copy_context()
        self.done = Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.context.run(self.call)
        except BaseException as error:  # noqa: BLE001 - reported by the thread that waits; a tracker may even exit
            self.error = error
        self.done.set()


Jobs = SimpleQueue[_Job | None]


class WriterGuard:
    """Runs the calls of one writer, one after the other, on a thread of its own, and waits for each.

    Random streams are put back after each call. The first call that raises, or that takes longer than ``timeout_s``, is
    reported; from then on nothing is called any more. All calls come from the same thread, because some trackers keep
    their run, or a database, per thread.
    """

    def __init__(self, name: str, timeout_s: float) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.is_dropped = False
        self._jobs: Jobs | None = None
        self._thread: Thread | None = None

    def call(self, what: str, call: Callable[[], None]) -> None:
        """Run ``call``; ``what`` is its name in a report."""
        if self.is_dropped:
            return
        job = _Job(call)
        if self._jobs is None:
            self._jobs = self._start()
        with set_aside():  # trackers draw random names, and one seeds every stream
            self._jobs.put(job)
            is_done = job.done.wait(self.timeout_s)
        if not is_done:
            self._drop(f"{what} took longer than {self.timeout_s:g} s (writer_timeout_s of the visualizer)")
        elif job.error is not None:
            shown = "".join(traceback.format_exception(job.error)).rstrip()
            self._drop(f"{what} raised {type(job.error).__name__}: {job.error}", f"\n{shown}")

    def end(self) -> None:
        """Let the thread go; the next call starts another one."""
        thread, self._thread = self._thread, None
        if self._jobs is not None:
            self._jobs.put(None)
            self._jobs = None
        if thread is not None and not self.is_dropped:
            thread.join(self.timeout_s)

    def _start(self) -> Jobs:
        jobs: Jobs = SimpleQueue()
        # A daemon: one that hangs must not keep the process alive.
        self._thread = Thread(target=_work, args=(jobs,), name=f"writer {self.name}", daemon=True)
        self._thread.start()
        finalize(self, jobs.put, None)
        return jobs

    def _drop(self, why: str, details: str = "") -> None:
        self.is_dropped = True
        self.end()
        print_log(
            f"{self.name} is not used any more: {why}. Training goes on without it.{details}", "current", logging.ERROR
        )


def _work(jobs: Jobs) -> None:
    while (job := jobs.get()) is not None:
        job.run()
