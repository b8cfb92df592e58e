"""mmengine.utils.progressbar, progressbar_rich and timer."""

import io
import os
from unittest import mock

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def clock(mmengine):
    """The seconds that the timers see, in a list of one."""
    now = [1000.0]
    with mock.patch("mmengine.utils.timer.time", side_effect=lambda: now[0]):
        yield now


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "24")


def emptied(out):
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text


def test_the_start_of_a_bar():
    import mmengine

    out = io.StringIO()
    mmengine.ProgressBar(bar_width=20, file=out)
    assert emptied(out) == "completed: 0, elapsed: 0s"
    bar = mmengine.ProgressBar(bar_width=20, start=False, file=out)
    assert emptied(out) == ""
    bar.start()
    assert emptied(out) == "completed: 0, elapsed: 0s"
    mmengine.ProgressBar(10, bar_width=20, file=out)
    assert emptied(out) == f"[{' ' * 20}] 0/10, elapsed: 0s, ETA:"
    bar = mmengine.ProgressBar(10, bar_width=20, start=False, file=out)
    assert emptied(out) == ""
    bar.start()
    assert emptied(out) == f"[{' ' * 20}] 0/10, elapsed: 0s, ETA:"


def test_the_updates_of_a_bar(clock, wide):
    import mmengine

    out = io.StringIO()
    bar = mmengine.ProgressBar(bar_width=20, file=out)
    clock[0] += 1
    emptied(out)
    bar.update()
    assert out.getvalue() == "completed: 1, elapsed: 1s, 1.0 tasks/s"
    bar = mmengine.ProgressBar(10, bar_width=20, file=out)
    clock[0] += 1
    emptied(out)
    bar.update()
    assert out.getvalue() == f"\r[{'>' * 2 + ' ' * 18}] 1/10, 1.0 task/s, elapsed: 1s, ETA:     9s"
    with pytest.raises(AssertionError):
        bar.update(0)


def test_a_bar_keeps_within_the_terminal(clock, wide):
    import mmengine

    out = io.StringIO()
    os.environ["COLUMNS"] = "80"
    bar = mmengine.ProgressBar(10, bar_width=20, file=out)
    clock[0] += 1
    emptied(out)
    bar.update()
    assert len(emptied(out)) == 66
    os.environ["COLUMNS"] = "30"
    bar.update()
    assert len(emptied(out)) == 48
    os.environ["COLUMNS"] = "60"
    bar.update()
    assert len(emptied(out)) == 60


STEPS = (
    "[   ] 0/3, elapsed: 0s, ETA:"
    "\r[>  ] 1/3, 1.0 task/s, elapsed: 1s, ETA:     2s"
    "\r[>> ] 2/3, 1.0 task/s, elapsed: 2s, ETA:     1s"
    "\r[>>>] 3/3, 1.0 task/s, elapsed: 3s, ETA:     0s\n"
)


@pytest.mark.parametrize("as_iterator", [False, True])
def test_tracked_tasks(clock, wide, as_iterator):
    import mmengine

    def work(number):
        clock[0] += 1
        return number

    def tasks():
        return ((number for number in [1, 2, 3]), 3) if as_iterator else [1, 2, 3]

    out = io.StringIO()
    assert mmengine.track_progress(work, tasks(), bar_width=3, file=out) == [1, 2, 3]
    assert emptied(out) == STEPS
    assert [work(number) for number in mmengine.track_iter_progress(tasks(), bar_width=3, file=out)] == [1, 2, 3]
    assert emptied(out) == STEPS
    found = [(count, work(number)) for count, number in enumerate(mmengine.track_iter_progress(tasks(), 3, file=out))]
    assert found == [(0, 1), (1, 2), (2, 3)]
    assert emptied(out) == STEPS


@pytest.mark.parametrize("tasks", [1, (number for number in [1])])
def test_tasks_without_a_number(tasks):
    import mmengine

    with pytest.raises(TypeError):
        mmengine.track_progress(abs, tasks)
    with pytest.raises(TypeError):
        list(mmengine.track_iter_progress(tasks))
    with pytest.raises(TypeError):
        mmengine.track_parallel_progress(abs, tasks, 1)
    with pytest.raises(AssertionError):
        mmengine.track_progress(abs, (7, 2))


@pytest.mark.parametrize("settings", [{}, {"skip_first": True}, {"keep_order": False}])
def test_tasks_of_several_processes(settings):
    import mmengine

    out = io.StringIO()
    found = mmengine.track_parallel_progress(abs, [-1, -2, -3, -4], 2, bar_width=4, file=out, **settings)
    assert (found if settings.get("keep_order", True) else sorted(found)) == [1, 2, 3, 4]
    assert out.getvalue().endswith("\n")
    found = mmengine.track_parallel_progress(abs, (iter([-1, -2]), 2), 2, bar_width=4, file=out)
    assert found == [1, 2]


def nothing():
    return 1


def same(number):
    return number


def pair(left, right):
    return left, right


def broken(number):
    raise KeyError(number)


@pytest.mark.parametrize("nproc", [1, 2])
def test_tracked_by_rich(nproc, capsys):
    from mmengine.utils import track_progress_rich

    assert track_progress_rich(nothing, nproc=nproc, task_num=10, description="test") == [1] * 10
    assert track_progress_rich(same, tasks=list(range(10)), nproc=nproc) == list(range(10))
    assert track_progress_rich(same, tasks=iter(range(10)), task_num=10, nproc=nproc) == list(range(10))
    assert track_progress_rich(pair, [(1, 2), [3, 4]], nproc=nproc, chunksize=2, color="red") == [(1, 2), (3, 4)]
    assert "10/10" in capsys.readouterr().out
    with pytest.raises(KeyError, match="3"):
        track_progress_rich(broken, [3], nproc=nproc)


def test_what_rich_does_not_track():
    from mmengine.utils import track_progress_rich

    with pytest.raises(TypeError, match="func must be a callable object"):
        track_progress_rich(1, [1])
    with pytest.raises(TypeError, match="tasks must be an iterable object"):
        track_progress_rich(same, 1)
    with pytest.raises(ValueError, match="If tasks is an empty iterable, task_num must be set"):
        track_progress_rich(same)
    with pytest.raises(ValueError, match="task_num does not match the length of tasks"):
        track_progress_rich(same, [1, 2], task_num=3)
    with pytest.raises(ValueError, match="nproc must be a positive number"):
        track_progress_rich(same, [1, 2], nproc=0)


def test_the_start_of_a_timer():
    import mmengine

    timer = mmengine.Timer(start=False)
    assert not timer.is_running
    with pytest.raises(mmengine.TimerError, match="timer is not running"):
        timer.since_start()
    with pytest.raises(mmengine.TimerError, match="timer is not running"):
        timer.since_last_check()
    timer.start()
    assert timer.is_running
    assert mmengine.Timer().is_running


def test_what_a_timer_tells(clock, capsys):
    import mmengine

    timer = mmengine.Timer()
    clock[0] += 1
    assert timer.since_start() == 1
    clock[0] += 1
    assert timer.since_last_check() == 1
    assert timer.since_start() == 2
    clock[0] += 1
    timer.start()
    assert timer.since_last_check() == 0
    assert timer.since_start() == 3
    with mmengine.Timer() as timer:
        clock[0] += 1
    assert capsys.readouterr().out == "1.000\n"
    assert not timer.is_running
    with mmengine.Timer(print_tmpl="time: {:.1f}s"):
        clock[0] += 1
    assert capsys.readouterr().out == "time: 1.0s\n"
    assert mmengine.check_time("here, by MMEngine") == 0
    clock[0] += 2
    assert mmengine.check_time("here, by MMEngine") == 2
