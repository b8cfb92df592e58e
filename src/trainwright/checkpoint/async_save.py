"""Saves that are written in the background: one thread, one save at a time."""

from __future__ import annotations

import contextvars
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import thread as _pools  # noqa: F401 - what it does at exit must be behind what is done here
from dataclasses import dataclass, field
from typing import Any

from trainwright import dist
from trainwright.base.errors import CheckpointError
from trainwright.base.logs import MMLogger
from trainwright.checkpoint.format import plain_tree
from trainwright.state import HostCopies, HostMemory

GROUP_TIMEOUT_S = 6 * 3600.0  # ranks wait for the slowest disk among them
_savers: weakref.WeakSet[AsyncSaver] = weakref.WeakSet()


def _raise(error: BaseException | None, result: Any) -> None:
    if error is not None:
        raise error


@dataclass
class Job:
    """``work`` is done in the thread; ``settled`` is called in the thread that asks for the outcome, with the error, if
    there was one, and what ``work`` returned."""

    path: str
    work: Callable[[], Any]
    settled: Callable[[BaseException | None, Any], None] = _raise
    error: BaseException | None = None
    result: Any = None
    is_done: threading.Event = field(default_factory=threading.Event)


class AsyncSaver:
    """Writes snapshots of a training state while training goes on. At most one is in flight, of which :meth:`settle`
    tells the outcome; nobody begins another one before. The memory of a snapshot is used again by the next one.

    With several ranks all of them do the same, each in its thread; these have a process group of their own, since
    collectives of two threads on one group get mixed up. The thread is no daemon: the interpreter waits for it.
    """

    def __init__(self) -> None:
        self.memory = HostMemory()
        self.stalls: list[float] = []  # seconds, not shown in a log line yet
        self._job: Job | None = None
        self._group: Any = None
        self._pid = os.getpid()
        _savers.add(self)

    @property
    def path(self) -> str | None:
        """What is being saved, or was and is not settled. A process that was forked meanwhile has nothing to do with
        it."""
        return self._job.path if self._job is not None and self._pid == os.getpid() else None

    @property
    def is_done(self) -> bool:
        """Whether nothing is being written; what is written may wait to be settled."""
        return self.path is None or self._job is None or self._job.is_done.is_set()

    def copies(self) -> HostCopies:
        """For the next snapshot; the one before must be settled."""
        assert self._job is None, "one save at a time"
        self.memory.turn_over()
        return HostCopies(self.memory)

    def snapshot(self, path: str, tree: dict[str, Any], copies: HostCopies) -> dict[str, Any]:
        """``tree`` as plain data in memory of its own. CheckpointError where it is no plain data; an error on one rank
        is one on all."""
        error: Exception | None = None
        try:
            copied: dict[str, Any] = copies.tree(plain_tree(path, tree))
            copies.wait()
            self.memory.trim()
        except Exception as failure:  # noqa: BLE001 - raised below, when all ranks know
            error = failure
        texts = dist.all_gather_object(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        for rank, text in enumerate(texts):
            if text is not None:
                raise CheckpointError(f"the checkpoint {path!r} was not written: rank {rank} failed with {text}")
        return copied

    def begin(self, job: Job) -> None:
        """Do it in the background. All ranks call this."""
        assert self._job is None, "one save at a time"
        if self._group is None:
            self._group = dist.background_group(GROUP_TIMEOUT_S)
        self._pid = os.getpid()
        context = contextvars.copy_context()  # the current logger is the run's
        thread = threading.Thread(target=context.run, args=(_do, job, self._group), name="trainwright-save")
        self._job = job
        try:
            thread.start()
        except BaseException:
            self._job = None
            raise

    def wait(self, timeout_s: float | None = None) -> bool:
        """Until what is in flight is written, at most so long; returns whether it is. Nothing is settled."""
        job = None if self.path is None else self._job
        return job is None or job.is_done.wait(timeout_s)

    def settle(self, timeout_s: float | None = None) -> bool:
        """Wait, and tell whoever began the save what became of it: its error is raised here, unless that is handled.
        Returns whether nothing is in flight any more. All ranks call this."""
        job = None if self.path is None else self._job
        if job is None:
            return True
        is_done = job.is_done.wait(timeout_s)
        if timeout_s is not None:
            is_done = all(dist.all_gather_object(is_done))
        if not is_done:
            return False
        self._job = None
        job.settled(job.error, job.result)
        return True

    def close(self) -> None:
        """Give memory and process group back, when nothing is in flight."""
        if self.is_done:
            dist.drop_group(self._group)
            self._group, self.memory = None, HostMemory()


def _do(job: Job, group: Any) -> None:
    try:
        with dist.on_group(group):
            job.result = job.work()
    except BaseException as error:  # noqa: BLE001 - for settle()
        job.error = error
    finally:
        job.is_done.set()


def _at_exit() -> None:
    """What nobody waited for is written before the interpreter takes its threads down, and errors are said."""
    for saver in list(_savers):
        job = saver._job
        if saver.path is None or job is None:
            continue
        saver.wait()
        if job.error is not None:
            MMLogger.get_current_instance().error("the checkpoint %s was not written: %s", job.path, job.error)


# Plain atexit comes after the interpreter has forbidden new threads, of which writing a step folder needs one.
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    _register(_at_exit)
