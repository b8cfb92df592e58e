"""Work that is done in the background, in order, again and again until it is done, and that never stops a training."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from trainwright.base.logs import MMLogger


@dataclass
class Job:
    """``work`` is tried until it does not raise; ``over`` is called once, when it is done, given up or displaced."""

    what: str
    work: Callable[[], None]
    over: Callable[[], None] = lambda: None
    is_bulky: bool = False


class Uploads:
    """One thread that does jobs in their order; a failed one is tried again after a wait that doubles each time.

    At most ``limit`` bulky ones wait: the oldest of them makes room for a newer one, and that is said. ``idle`` is
    called about every ``idle_s`` seconds in the same thread.
    """

    def __init__(self, idle: Callable[[], None] | None = None, limit: int = 4, n_tries: int = 8) -> None:
        self.limit, self.n_tries = limit, n_tries
        self.first_wait_s, self.longest_wait_s, self.idle_s = 1.0, 60.0, 30.0
        self.logger: logging.Logger | None = None
        self.failed: list[str] = []
        self._idle = idle
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._change = threading.Condition()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Have it done; returns at once."""
        with self._change:
            self._waiting.append(job)
            bulky = [item for item in self._waiting if item.is_bulky]
            displaced = bulky[0] if len(bulky) > self.limit else None
            if displaced is not None:
                self._waiting.remove(displaced)
            if self._thread is None or not self._thread.is_alive():
                self._closing.clear()
                self._thread = threading.Thread(target=self._run, name="trainwright-uploads", daemon=True)
                self._thread.start()
            self._change.notify_all()
        if displaced is not None:
            self._log().warning("%s is put off: the storage is slower than checkpoints appear", displaced.what)
            displaced.over()

    def flush(self, timeout_s: float) -> list[str]:
        """Wait until all is done, at most so long; returns what is not."""
        end = time.monotonic() + timeout_s
        with self._change:
            while (self._waiting or self._running) and (left := end - time.monotonic()) > 0:
                self._change.wait(left)
            return [job.what for job in (self._running, *self._waiting) if job is not None]

    def close(self) -> None:
        """End the thread; what waits is not done any more."""
        self._closing.set()
        with self._change:
            dropped = list(self._waiting)
            self._waiting.clear()
            self._change.notify_all()
        for job in dropped:
            job.over()
        if self._thread is not None:
            self._thread.join(5.0)

    def _log(self) -> logging.Logger:
        return self.logger or MMLogger.get_current_instance()

    def _run(self) -> None:
        while not self._closing.is_set():
            with self._change:
                if not self._waiting:
                    self._change.wait(self.idle_s)
                self._running = self._waiting.popleft() if self._waiting else None
            job = self._running
            if job is None:
                self._do_idle()
                continue
            try:
                self._do(job)
            finally:
                job.over()
                with self._change:
                    self._running = None
                    self._change.notify_all()

    def _do_idle(self) -> None:
        if self._idle is None or self._closing.is_set():
            return
        error = error_of(self._idle)
        if error is not None:
            self._log().debug("logs could not be uploaded, which is tried again: %s", _in_words(error))

    def _do(self, job: Job) -> None:
        wait_s, n_tried = self.first_wait_s, 1
        while (error := error_of(job.work)) is not None:
            if n_tried == self.n_tries:
                self.failed.append(job.what)
                self._log().error("%s failed %d times and is given up: %s", job.what, n_tried, _in_words(error))
                return
            self._log().warning("%s failed and is tried again in %g s: %s", job.what, wait_s, _in_words(error))
            if self._closing.wait(wait_s):
                return
            wait_s, n_tried = min(2 * wait_s, self.longest_wait_s), n_tried + 1


def error_of(work: Callable[[], None]) -> Exception | None:
    """What ``work`` raised."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - storages raise errors of every kind, and none may end a training
        return error
    return None


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
