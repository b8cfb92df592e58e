"""Work in the background: in order, again and again, and never in the way."""

import threading

import pytest

from trainwright.io.uploads import Job, Uploads


@pytest.fixture
def uploads():
    made = Uploads(limit=2, n_tries=4)
    made.first_wait_s = 0.001
    yield made
    made.close()


def test_in_order(uploads):
    done = []
    for n in range(50):
        uploads.add(Job(f"job {n}", lambda n=n: done.append(n)))
    assert uploads.flush(30) == []
    assert done == list(range(50))


def test_tried_again_after_growing_waits(uploads, capsys):
    tries, over = [], []

    def work():
        tries.append(1)
        if len(tries) < 4:
            raise ConnectionError("no route")

    uploads.add(Job("the upload of x", work, lambda: over.append(1)))
    assert uploads.flush(30) == []
    assert (len(tries), over, uploads.failed) == (4, [1], [])
    said = capsys.readouterr().err
    for wait in ("0.001", "0.002", "0.004"):
        assert f"the upload of x failed and is tried again in {wait} s: ConnectionError: no route" in said


def test_given_up_in_the_end_and_the_next_one_is_done(uploads, capsys):
    done = []

    def work():
        raise PermissionError("no such bucket")

    uploads.add(Job("the upload of x", work))
    uploads.add(Job("the upload of y", lambda: done.append("y")))
    assert uploads.flush(30) == []
    assert done == ["y"]
    assert uploads.failed == ["the upload of x"]
    assert "the upload of x failed 4 times and is given up: PermissionError: no such bucket" in capsys.readouterr().err


def test_the_oldest_bulky_one_makes_room(uploads, capsys):
    gate, done, over = threading.Event(), [], []
    uploads.add(Job("first", lambda: gate.wait(30)))
    while uploads._running is None:
        gate.wait(0.001)
    for n in range(5):
        uploads.add(Job(f"big {n}", lambda n=n: done.append(n), lambda n=n: over.append(n), is_bulky=True))
        uploads.add(Job(f"small {n}", lambda n=n: done.append(f"small {n}")))
    gate.set()
    assert uploads.flush(30) == []
    assert [item for item in done if isinstance(item, int)] == [3, 4]
    assert [item for item in done if isinstance(item, str)] == [f"small {n}" for n in range(5)]
    assert over == [0, 1, 2, 3, 4]
    assert "big 0 is put off: the storage is slower than checkpoints appear" in capsys.readouterr().err


def test_a_flush_has_a_deadline(uploads):
    gate = threading.Event()
    uploads.add(Job("slow", lambda: gate.wait(30)))
    uploads.add(Job("next", lambda: None))
    assert uploads.flush(0.02) == ["slow", "next"]
    gate.set()
    assert uploads.flush(30) == []


def test_closed_in_the_middle_and_used_again(uploads):
    over, done = [], []
    gate = threading.Event()
    uploads.add(Job("slow", lambda: gate.wait(0.05), lambda: over.append("slow")))
    uploads.add(Job("never", lambda: done.append("never"), lambda: over.append("never")))
    uploads.close()
    assert "never" in over
    uploads.add(Job("again", lambda: done.append("again")))
    assert uploads.flush(30) == []
    assert done == ["again"]


def test_what_is_done_when_there_is_nothing_else():
    called = threading.Event()
    calls = []

    def idle():
        calls.append(1)
        if len(calls) == 1:
            raise OSError("no route")
        called.set()

    uploads = Uploads(idle)
    uploads.idle_s = 0.005
    uploads.add(Job("x", lambda: None))
    assert called.wait(30)
    uploads.close()
