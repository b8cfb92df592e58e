"""What each loader worker is reading, in memory that all processes share: one that dies or hangs cannot say it."""

from __future__ import annotations

import re
import signal
import struct
import threading
import weakref
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Any

import torch
from torch.utils.data._utils import signal_handling

from trainwright.base.errors import DataError

IDLE, READING, COLLATING = 0, 1, 2
_ROW = struct.Struct("4q")  # what it does, epoch, index, whether the index is the user's own integer
_PIDS = re.compile(r"\(pid(?:\(s\))? ([\d, ]+)\)")
_DYING_S = 1.0
_TORCH_SAYS = ("DataLoader worker", "DataLoader timed out")


class Board:
    """One row a worker; a worker writes, the main process reads."""

    def __init__(self, n_workers: int, of_stream: bool = False) -> None:
        self._cells = torch.zeros(n_workers, 4, dtype=torch.int64).share_memory_()
        self._view: memoryview | None = None
        self._of_stream = of_stream
        self.is_pulling = False  # whether the main process waits for a batch
        self.failed: DataError | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_view": None}

    def write(self, worker: int, doing: int, epoch: int = 0, number: int = 0, is_plain: bool = True) -> None:
        """Say what `worker` does from now on."""
        if self._view is None:
            self._view = memoryview(self._cells.numpy()).cast("B")
        _ROW.pack_into(self._view, worker * _ROW.size, doing, epoch, number, is_plain)

    def text(self, worker: int) -> str:
        """What `worker` did last, in words."""
        doing, epoch, number, is_plain = self._cells[worker].tolist()
        if doing == IDLE:
            return "between two batches"
        if doing == COLLATING:
            return f"putting a batch of epoch {epoch} together"
        if self._of_stream:
            return f"reading item {number} of its stream in epoch {epoch}"
        return f"reading sample {number} of epoch {epoch}" if is_plain else f"reading a sample of epoch {epoch}"


def name_failure(iterator: Any, board: Board, error: Exception, timeout_s: float) -> DataError | None:
    """The error in our words when it is torch's about a dead worker or a timeout, or comes of one; else None."""
    if isinstance(error, (OSError, EOFError)):  # of a worker that died while it handed a batch over
        closed = wait([worker.sentinel for worker in iterator._workers], timeout=_DYING_S)
        dying = [worker for worker in iterator._workers if worker.sentinel in closed]
        for worker in dying:
            worker.join(_DYING_S)  # its pipes close before it has an exit code
        pids = {worker.pid for worker in dying}
    elif str(error).startswith(_TORCH_SAYS):
        named = _PIDS.search(str(error))
        pids = set(map(int, named[1].split(","))) if named else set()
    else:
        return None
    dead = [(n, worker) for n, worker in enumerate(iterator._workers) if worker.pid in pids and not worker.is_alive()]
    if dead:
        parts = [f"loader worker {n} {_end(worker.exitcode)} while {board.text(n)}" for n, worker in dead]
        cures = (
            "Read that sample alone (num_workers=0) to see why. SIGKILL mostly means that memory ran out: "
            "fewer workers (num_workers) or a smaller prefetch_factor need less. on_sample_error can leave out samples "
            "that raise an error, not those that end their process"
        )
        return DataError(f"{'; '.join(parts)}. {cures}")
    if "timed out" in str(error) and timeout_s:
        late = iterator._task_info[iterator._rcvd_idx][0]
        return DataError(
            f"no batch within timeout={timeout_s:g} s: loader worker {late} is still {board.text(late)}. Raise timeout "
            "in the dataloader if reading may take that long (0 waits for ever), or find what that sample waits for"
        )
    return None


def _end(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def end_at_once(iterator: Any) -> None:
    """End the workers of a failed pass; torch would wait five seconds for each that hangs."""
    if iterator._workers_status and getattr(iterator, "_worker_pids_set", False):
        signal_handling._remove_worker_pids(id(iterator))  # type: ignore[attr-defined]
        iterator._worker_pids_set = False
    for worker in iterator._workers:
        if worker.is_alive():
            worker.kill()
    iterator._shutdown_workers()


_watched: weakref.WeakKeyDictionary[Any, Board] = weakref.WeakKeyDictionary()


def watch(iterator: Any, board: Board) -> None:
    """Let torch's signal handler, which raises wherever the main process is when a worker dies, raise our error where
    a batch is pulled: at once when one is, else at the next one."""
    _watched[iterator] = board
    handler = signal.getsignal(signal.SIGCHLD)
    is_torchs = callable(handler) and getattr(handler, "__module__", "") == signal_handling.__name__
    if is_torchs and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, _naming(handler))  # type: ignore[arg-type]


def _naming(handler: Callable[[int, Any], Any]) -> Callable[[int, Any], None]:
    def named(number: int, frame: Any) -> None:
        try:
            handler(number, frame)
        except RuntimeError as error:
            for iterator, board in list(_watched.items()):
                found = name_failure(iterator, board, error, 0.0)
                if found is not None:
                    board.failed = found
                    if board.is_pulling:
                        raise found from error
                    return
            raise

    return named
