"""A progress bar by rich over tasks that this process or a pool of processes works off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from functools import cache
from multiprocessing import Pool
from typing import TYPE_CHECKING, Any

from trainwright.base.errors import ConfigError, ConfigTypeError

if TYPE_CHECKING:
    from rich.progress import Progress


class _Worker:
    """Calls the function with one task, which is numbered; picklable if the function is."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, inputs: tuple[Any, int]) -> tuple[Any, int]:
        task, index = inputs
        arguments = task if isinstance(task, (tuple, list)) else (task,)
        return self.func(*arguments), index


def track_progress_rich(
    func: Callable[..., Any],
    tasks: Iterable[Any] = (),
    task_num: int | None = None,
    nproc: int = 1,
    chunksize: int = 1,
    description: str = "Processing",
    color: str = "blue",
) -> list[Any]:
    """`func` of each task, in the order of the tasks, by `nproc` processes (1: by this one).

    A task that is a tuple or a list has the arguments, any other is the one argument. With no `tasks`, `func()` is
    called `task_num` times; otherwise `task_num` is the number of those that do not know it themselves.
    """
    if not callable(func):
        raise ConfigTypeError(f"func must be a callable object, but got {func!r}")
    if not isinstance(tasks, Iterable):
        raise ConfigTypeError(f"tasks must be an iterable object, but got {tasks!r} of type {type(tasks).__name__}")
    if nproc <= 0:
        raise ConfigError(f"nproc must be a positive number, but got {nproc}: 1 is this process alone")
    tasks, task_num = _numbered(tasks, task_num)
    bar = _progress(n_skipped=nproc * chunksize if nproc > 1 else 0)
    task_id = bar.add_task(description, total=task_num, color=color)
    worker = _Worker(func)
    inputs = ((task, index) for index, task in enumerate(tasks))
    results: list[tuple[Any, int]] = []
    with bar:
        for result in map(worker, inputs) if nproc == 1 else _by_pool(worker, inputs, nproc, chunksize):
            results.append(result)
            bar.update(task_id, advance=1, refresh=True)
    results.sort(key=lambda pair: pair[1])
    return [result for result, _ in results]


def _by_pool(worker: _Worker, inputs: Iterable[Any], nproc: int, chunksize: int) -> Iterator[tuple[Any, int]]:
    with Pool(nproc) as pool:
        yield from pool.imap_unordered(worker, inputs, chunksize)


def _numbered(tasks: Iterable[Any], task_num: int | None) -> tuple[Iterable[Any], int | None]:
    """The tasks, and how many there are where that is known."""
    if not isinstance(tasks, Sized):
        return tasks, task_num
    if len(tasks) == 0:
        if task_num is None:
            raise ConfigError("If tasks is an empty iterable, task_num must be set: func() is called that often")
        return ((),) * task_num, task_num
    if task_num is not None and task_num != len(tasks):
        raise ConfigError(
            f"task_num does not match the length of tasks: it is {task_num}, and there are {len(tasks)}. Leave it out"
        )
    return tasks, len(tasks)


def _progress(n_skipped: int) -> Progress:
    """A bar whose time that remains is unknown for the first `n_skipped` tasks, in which the processes start."""
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        _remaining_column()(n_skipped),
        progress.MofNCompleteColumn(),
        progress.TaskProgressColumn(show_speed=True),
    )


@cache
def _remaining_column() -> Any:
    """The type of the column. rich's progress takes long to import, and only a bar needs it."""
    from rich.progress import Task, TimeRemainingColumn
    from rich.text import Text

    class RemainingColumn(TimeRemainingColumn):
        def __init__(self, n_skipped: int) -> None:
            super().__init__()
            self.n_skipped = n_skipped

        def render(self, task: Task) -> Text:
            if task.completed <= self.n_skipped:
                return Text("-:--:--", style="progress.remaining")
            return super().render(task)

    return RemainingColumn
