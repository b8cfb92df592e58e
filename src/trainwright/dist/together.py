"""Failing together: what goes wrong on one rank ends the work of all, and all say what it was."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import distributed as torch_dist

from trainwright.base.errors import Interrupted, RankError, TrainwrightError
from trainwright.dist.collectives import broadcast_object_list
from trainwright.dist.launch import group_store
from trainwright.dist.process import get_rank, get_world_size

R = TypeVar("R")
POLL_S = 0.5
GRACE_S = 5.0  # what a rank has to fail by itself after another one has
_numbers = itertools.count()
_CONSEQUENCES = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def from_main(func: Callable[[], R]) -> R:
    """``func()`` of rank 0, on every rank; an error there is raised on every rank. All call this."""
    if get_world_size() == 1:
        return func()
    outcome: list[Any] = [None, None, ""]
    if get_rank() == 0:
        try:
            outcome[0] = func()
        except Exception as error:
            outcome[1:] = [_portable(error), traceback.format_exc()]
            broadcast_object_list(outcome)
            raise
    broadcast_object_list(outcome)
    result: R
    result, failure, trace = outcome
    if failure is not None:
        raise failure from RankError(f"this was raised on rank 0:\n{trace}")
    return result


def _portable(error: Exception) -> Exception:
    try:
        pickle.dumps(error)
    except Exception:  # noqa: BLE001 - whatever it holds that cannot travel
        return RankError(f"rank 0 failed: {type(error).__name__}: {error}")
    return error


@contextmanager
def failing_together() -> Iterator[None]:
    """Work that all ranks do together: when one fails, the others end too, with a RankError that has its traceback.

    A rank that fails tells it through the store. Those that wait for it in a collective are freed by the end of its
    process; one that is not within ``GRACE_S`` seconds ends its own process, after writing down the traceback: no
    backend lets a collective be broken off in every case. Errors that a rank has of its own stay what they are. A rank
    whose process is gone says nothing; the others find out which it was, and name it.
    """
    if get_world_size() == 1:
        yield
        return
    watch = _Watch()
    try:
        yield
    except Interrupted:
        raise  # agreed on: all ranks do
    except BaseException as error:
        first = watch.tell(error)
        if first is not None and _is_consequence(error):
            if first.get("gone"):
                raise RankError(_of_gone(first["gone"])) from error
            if first["rank"] != get_rank():
                raise RankError(
                    f"rank {first['rank']} failed, and this one could not go on without it. The error of rank "
                    f"{first['rank']}:\n{first['trace']}"
                ) from error
        raise
    finally:
        watch.close()


def _is_consequence(error: BaseException) -> bool:
    """Whether a rank failed because another one did: its connection broke."""
    if isinstance(error, TrainwrightError) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch_dist.DistError) or any(word in str(error) for word in _CONSEQUENCES)


def _of_gone(gone: list[int]) -> str:
    ranks = f"rank {gone[0]} is" if len(gone) == 1 else f"ranks {', '.join(map(str, gone))} are"
    return (
        f"{ranks} gone, and this one could not go on without it: the process ended without a word, by a signal "
        "(SIGKILL when memory runs out, SIGABRT when ranks call a collective with other shapes) or by os._exit. "
        "Whoever started it has its exit code"
    )


class _Watch:
    """Looks twice a second, in a thread, whether another rank has failed."""

    def __init__(self) -> None:
        number = next(_numbers)  # the same on all ranks, which run the same program
        self._key, self._seen = f"trainwright/failed/{number}", f"trainwright/seen/{number}"
        self._store = group_store()
        self._rank, self._world_size = get_rank(), get_world_size()
        self._over = threading.Event()
        self._has_seen = False
        self._thread = threading.Thread(target=self._look, name="trainwright-ranks", daemon=True)
        self._thread.start()

    def _look(self) -> None:
        try:
            while not self._over.wait(POLL_S):
                if self._store.check([self._key]):
                    self._note_seen()
                    first = json.loads(self._store.get(self._key))
                    break
            else:
                return
        except RuntimeError:  # the store is gone with rank 0: the next collective says so
            return
        if not self._over.wait(GRACE_S):
            sys.stderr.write(
                f"rank {self._rank}: rank {first['rank']} failed, and this one waits for it in vain: it ends here. The "
                f"error of rank {first['rank']}:\n{first['trace']}\n"
            )
            sys.stderr.flush()
            os._exit(1)

    def _note_seen(self) -> None:
        if not self._has_seen:
            self._has_seen = True
            self._store.set(f"{self._seen}/{self._rank}", "1")
            self._store.add(self._seen, 1)

    def tell(self, error: BaseException) -> dict[str, Any] | None:
        """Say that this rank failed; returns what the first one said, None where nobody can know any more."""
        self.close()
        own = json.dumps({"rank": self._rank, "trace": "".join(traceback.format_exception(error))})
        is_consequence = _is_consequence(error)
        try:
            if is_consequence:
                self._wait_for(lambda: bool(self._store.check([self._key])), 2 * POLL_S)
            first: dict[str, Any] = json.loads(self._store.compare_set(self._key, "", own))
            self._note_seen()
            if first["rank"] == self._rank:  # the store may end with this process: the others read it first
                self._wait_for(lambda: self._store.add(self._seen, 0) >= self._world_size, 6 * POLL_S)
                self._store.set(f"{self._key}/gone", json.dumps(self._unseen() if is_consequence else []))
            # The first one too may have failed of somebody who is gone; and it may itself end before it says so.
            if is_consequence and self._wait_for(lambda: bool(self._store.check([f"{self._key}/gone"])), 8 * POLL_S):
                first["gone"] = json.loads(self._store.get(f"{self._key}/gone"))
        except RuntimeError:
            return None
        return first

    def _unseen(self) -> list[int]:
        """The ranks that have not seen that one failed: in a living process a thread does."""
        return [rank for rank in range(self._world_size) if not self._store.check([f"{self._seen}/{rank}"])]

    def _wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether `condition` came true in time."""
        pause, end = threading.Event(), time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= end:
                return False
            pause.wait(0.02)
        return True

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()
