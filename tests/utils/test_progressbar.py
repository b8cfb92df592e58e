import io

import pytest

from trainwright.base.errors import ConfigError, ConfigTypeError, RuleError
from trainwright.utils import (
    ProgressBar,
    track_iter_progress,
    track_parallel_progress,
    track_progress,
    track_progress_rich,
)


def test_a_bar_writes_to_the_stdout_of_the_moment(capsys):
    assert track_progress(abs, [-1, -2]) == [1, 2]
    assert capsys.readouterr().out.endswith("\n")
    assert track_progress(int, ["10", "11"], base=2) == [2, 3]


def test_anything_with_a_length_has_a_bar():
    out = io.StringIO()
    assert list(track_iter_progress({1: "a", 2: "b"}, file=out)) == [1, 2]
    assert "2/2" in out.getvalue()


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: track_progress(abs, 7), TypeError, r"tasks must be a sequence or a tuple .*, got 7"),
        (lambda: track_iter_progress(iter([1])), TypeError, "its length is not known"),
        (lambda: track_progress(abs, ([1],)), RuleError, r"must be \(iterable, number\), got 1 items"),
        (lambda: track_progress(abs, (1, 1)), RuleError, r"tasks\[0\] must be iterable, got int"),
        (lambda: track_progress(abs, ([1], "1")), RuleError, r"tasks\[1\] must be their number, got '1'"),
        (lambda: ProgressBar(3, file=io.StringIO()).update(0), RuleError, "num_tasks must be above 0, got 0"),
        (
            lambda: track_parallel_progress(abs, [1], 1, initializer=print, initargs=[1]),
            TypeError,
            r"initargs must be a tuple, got \[1\] of type list",
        ),
        (lambda: track_progress_rich(7, [1]), ConfigTypeError, "func must be a callable object, but got 7"),
        (
            lambda: track_progress_rich(abs, 7),
            ConfigTypeError,
            "tasks must be an iterable object, but got 7 of type int",
        ),
        (lambda: track_progress_rich(abs, [1], nproc=0), ConfigError, "nproc must be a positive number, but got 0"),
        (lambda: track_progress_rich(abs), ConfigError, r"task_num must be set: func\(\) is called that often"),
        (lambda: track_progress_rich(abs, [1], 2), ConfigError, "it is 2, and there are 1. Leave it out"),
    ],
)
def test_messages(call, kind, text):
    with pytest.raises(kind, match=text):
        call()


def twice(number):
    return 2 * number


def test_the_pool_of_a_bar_ends_with_it():
    import multiprocessing

    before = set(multiprocessing.active_children())
    assert track_parallel_progress(twice, range(4), 2, chunksize=2, file=io.StringIO()) == [0, 2, 4, 6]
    assert track_progress_rich(twice, range(4), nproc=2) == [0, 2, 4, 6]
    assert set(multiprocessing.active_children()) <= before


def test_the_time_that_remains_is_unknown_while_processes_start():
    from threading import RLock

    from rich.progress import Task

    from trainwright.utils.progressbar_rich import _remaining_column

    column = _remaining_column()(2)
    task = Task(0, "a task", 10, 2, _get_time=lambda: 1.0, _lock=RLock())
    assert column.render(task).plain == "-:--:--"
    task.completed = 10
    task.finished_time = 1.0
    assert column.render(task).plain == "0:00:00"
