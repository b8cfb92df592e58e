"""Progress bars over lists of tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from multiprocessing import Pool
from shutil import get_terminal_size
from typing import Any

from trainwright.base.errors import demand
from trainwright.utils.timer import Timer


class ProgressBar:
    """Tasks done of `task_num`, or a count where that is 0. It writes to `file`, stdout by default."""

    def __init__(self, task_num: int = 0, bar_width: int = 50, start: bool = True, file: Any = None) -> None:
        self.task_num = task_num
        self.bar_width = bar_width
        self.completed = 0
        self.file = sys.stdout if file is None else file
        if start:
            self.start()

    @property
    def terminal_width(self) -> int:
        return get_terminal_size()[0]

    def start(self) -> None:
        if self.task_num > 0:
            self._write(f"[{' ' * self.bar_width}] 0/{self.task_num}, elapsed: 0s, ETA:")
        else:
            self._write("completed: 0, elapsed: 0s")
        self.timer = Timer()

    def update(self, num_tasks: int = 1) -> None:
        demand(num_tasks > 0, f"num_tasks must be above 0, got {num_tasks}")
        self.completed += num_tasks
        elapsed_s = self.timer.since_start()
        rate = self.completed / elapsed_s if elapsed_s > 0 else float("inf")
        seconds = int(elapsed_s + 0.5)
        if self.task_num <= 0:
            self._write(f"completed: {self.completed}, elapsed: {seconds}s, {rate:.1f} tasks/s")
            return
        done = self.completed / self.task_num
        eta_s = int(elapsed_s * (1 - done) / done + 0.5)
        rest = f"] {self.completed}/{self.task_num}, {rate:.1f} task/s, elapsed: {seconds}s, ETA: {eta_s:5}s"
        columns = self.terminal_width
        # As wide as in MMEngine, which counts the braces of its template and the return before it as part of the line.
        width = max(2, min(self.bar_width, columns - len(rest) - 2, int(columns * 0.6)))
        marks = int(width * done)
        self._write(f"\r[{'>' * marks}{' ' * (width - marks)}{rest}")

    def _write(self, text: str) -> None:
        self.file.write(text)
        self.file.flush()


def track_progress(
    func: Callable[..., Any], tasks: Any, bar_width: int = 50, file: Any = None, **kwargs: Any
) -> list[Any]:
    """`func(task, **kwargs)` of each task, one after the other. `tasks` is a list, or (iterable, number)."""
    return [func(task, **kwargs) for task in track_iter_progress(tasks, bar_width, file)]


def track_iter_progress(tasks: Any, bar_width: int = 50, file: Any = None) -> Iterator[Any]:
    """The tasks one by one; each counts as done when the next is asked for."""
    tasks, n_tasks = _counted(tasks)
    return _tracked(tasks, ProgressBar(n_tasks, bar_width, file=file))


def _tracked(tasks: Iterable[Any], bar: ProgressBar) -> Iterator[Any]:
    for task in tasks:
        yield task
        bar.update()
    bar.file.write("\n")


def track_parallel_progress(
    func: Callable[..., Any],
    tasks: Any,
    nproc: int,
    initializer: Callable[..., Any] | None = None,
    initargs: Any = None,
    bar_width: int = 50,
    chunksize: int = 1,
    skip_first: bool = False,
    keep_order: bool = True,
    file: Any = None,
) -> list[Any]:
    """`func(task)` of each task by a pool of processes. `skip_first`: the first chunk of each does not count."""
    tasks, n_tasks = _counted(tasks)
    n_skipped = nproc * chunksize if skip_first else 0
    results: list[Any] = []
    with init_pool(nproc, initializer, initargs) as pool:
        bar = ProgressBar(n_tasks - n_skipped, bar_width, not skip_first, file=file)
        for result in (pool.imap if keep_order else pool.imap_unordered)(func, tasks, chunksize):
            results.append(result)
            if len(results) > n_skipped:
                bar.update()
            elif len(results) == n_skipped:
                bar.start()
        bar.file.write("\n")
        pool.close()
        pool.join()
    return results


def init_pool(process_num: int, initializer: Callable[..., Any] | None = None, initargs: Any = None) -> Any:
    if initargs is not None and initializer is not None and not isinstance(initargs, tuple):
        raise TypeError(f"initargs must be a tuple, got {initargs!r} of type {type(initargs).__name__}")
    return Pool(process_num, initializer, initargs or ())


def _counted(tasks: Any) -> tuple[Any, int]:
    if isinstance(tasks, tuple):
        demand(len(tasks) == 2, f"tasks as a tuple must be (iterable, number), got {len(tasks)} items")
        demand(isinstance(tasks[0], Iterable), f"tasks[0] must be iterable, got {type(tasks[0]).__name__}")
        demand(isinstance(tasks[1], int), f"tasks[1] must be their number, got {tasks[1]!r}")
        return tasks[0], tasks[1]
    if isinstance(tasks, Iterable) and isinstance(tasks, Sized):
        return tasks, len(tasks)
    raise TypeError(f"tasks must be a sequence or a tuple (iterable, number), got {tasks!r}: its length is not known")
