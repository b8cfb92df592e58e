"""One run a folder, as one process sees it. What several processes see is in the fault suite."""

import errno
import fcntl
import json
import multiprocessing
import os

import pytest
import torch

from trainwright.base.errors import WorkDirError, WorkDirLockedError
from trainwright.checkpoint import CheckpointManager, run_lock
from trainwright.checkpoint.run_lock import NAME, RunLock, is_held
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


def held_elsewhere(folder):
    """Whether another process would be refused."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_try, args=(folder, sender))
    child.start()
    answer = receiver.recv()
    child.join()
    receiver.close()
    sender.close()
    return answer


def _try(folder, sender):
    try:
        with RunLock(folder):
            sender.send("")
    except WorkDirLockedError as error:
        sender.send(str(error))


def test_held_and_let_go(tmp_path):
    lock = RunLock(tmp_path)
    assert not lock.is_held
    with lock:
        assert lock.is_held
        assert is_held(tmp_path)
        assert is_held(tmp_path / ".." / tmp_path.name)
        holder = json.loads(os.pread(lock._fd, 4096, 0))  # to open the file would let the lock go
        assert holder["pid"] == os.getpid()
        said = held_elsewhere(tmp_path)
        assert f"process {os.getpid()} on {holder['host']}, since {holder['time']}" in said
        assert "choose another work_dir, or end that run first" in said
        assert held_elsewhere(tmp_path)  # being refused has not let it go
    assert not is_held(tmp_path)
    assert held_elsewhere(tmp_path) == ""
    assert (tmp_path / NAME).read_text() == ""


def test_taken_twice_and_released_twice(tmp_path):
    lock = RunLock(tmp_path)
    lock.acquire()
    lock.acquire()
    lock.release()
    lock.release()
    assert held_elsewhere(tmp_path) == ""
    lock.acquire()
    assert held_elsewhere(tmp_path)
    lock.release()


def test_a_second_one_in_the_same_process(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with RunLock(tmp_path):
        for folder in (tmp_path, tmp_path / "link"):
            with pytest.raises(WorkDirLockedError, match="another Runner of this process trains in"):
                RunLock(folder).acquire()
        assert held_elsewhere(tmp_path)  # the file was not opened a second time
        with RunLock(tmp_path / "other"):
            assert is_held(tmp_path / "other")
        assert held_elsewhere(tmp_path)
    with RunLock(tmp_path):
        pass


def test_an_error_names_what_kind_it_is():
    assert issubclass(WorkDirLockedError, WorkDirError)


def test_a_forked_process_holds_nothing(tmp_path):
    with RunLock(tmp_path) as lock:
        context = multiprocessing.get_context("fork")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=lambda: sender.send((lock.is_held, is_held(tmp_path), lock.release())))
        child.start()
        assert receiver.recv() == (False, False, None)
        child.join()
        receiver.close()
        sender.close()
        assert held_elsewhere(tmp_path)  # what the child closes at its end is not the lock of this one


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b"{}", b"nonsense"])
def test_a_holder_that_does_not_say_who_it_is(tmp_path, content):
    with RunLock(tmp_path):
        fd = run_lock._held[(os.getpid(), str(tmp_path))]._fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)
        assert "which has not said who it is" in held_elsewhere(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EIO])
def test_a_folder_that_cannot_be_locked_is_told(tmp_path, monkeypatch, capsys, code):
    def refuse(fd, what):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with RunLock(tmp_path) as lock:
        assert not lock.is_held
        assert not is_held(tmp_path)
    said = capsys.readouterr().err
    assert f"cannot be locked ({os.strerror(code)}), so nothing keeps a second run out of it" in said


def test_a_file_that_may_not_be_opened(tmp_path, monkeypatch, capsys):
    real = os.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith(NAME):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with RunLock(tmp_path) as lock:
        assert not lock.is_held
    assert "cannot be locked (Read-only file system)" in capsys.readouterr().err


def test_a_full_disk_does_not_keep_a_run_from_its_lock(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with RunLock(tmp_path) as lock:
        assert lock.is_held
        assert "which has not said who it is" in held_elsewhere(tmp_path)


def test_a_lock_that_something_in_the_process_let_go_is_taken_again(tmp_path):
    with RunLock(tmp_path):
        (tmp_path / NAME).read_bytes()  # as a copy of the folder does
        run_lock.renew(tmp_path)
        assert held_elsewhere(tmp_path)
    run_lock.renew(tmp_path)  # not held: nothing


def test_another_run_that_came_in_meanwhile_is_told_at_the_next_save(tmp_path):
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    may_end = context.Event()
    manager = CheckpointManager(tmp_path)
    tree = {"meta": {"iter": 1}, "w": torch.ones(1)}
    with RunLock(tmp_path):
        manager.save("iter_1.pth", tree)
        (tmp_path / NAME).read_bytes()
        child = context.Process(target=_hold, args=(tmp_path, sender, may_end))
        child.start()
        assert receiver.recv() == "held"
        with pytest.raises(WorkDirLockedError, match=f"another run works in .* process {child.pid} on"):
            manager.save("iter_2.pth", tree)
        may_end.set()
        child.join()
    receiver.close()
    sender.close()
    assert not (tmp_path / "iter_2.pth").exists()


def _hold(folder, sender, may_end):
    with RunLock(folder):
        sender.send("held")
        may_end.wait(60)


def test_runners(tmp_path):
    first, second = (Runner.from_cfg(toy_config(tmp_path / "run")) for _ in range(2))
    other = Runner.from_cfg(toy_config(tmp_path / "other"))
    first.train()
    first.train()  # nothing left to do, and the lock is taken again
    second.train()
    with RunLock(tmp_path / "run"):
        other.train()
        with pytest.raises(WorkDirLockedError, match="another Runner of this process"):
            first.train()
        first.val()  # takes no lock
    assert not run_lock._held


def test_let_go_after_an_error(tmp_path):
    cfg = toy_config(tmp_path)
    cfg["default_hooks"] = {"checkpoint": {"type": "CheckpointHook", "save_best": "nothing", "rule": "less"}}
    with pytest.raises(ValueError, match="save_best='nothing' is not among"):
        Runner.from_cfg(cfg).train()
    assert not run_lock._held


def test_an_out_dir_is_locked_too(tmp_path):
    cfg = toy_config(tmp_path / "run")
    cfg["default_hooks"] = {"checkpoint": {"type": "CheckpointHook", "out_dir": str(tmp_path / "out")}}
    with RunLock(tmp_path / "out" / "run"), pytest.raises(WorkDirLockedError, match="out/run"):
        Runner.from_cfg(cfg).train()
    assert not run_lock._held
    Runner.from_cfg(cfg).train()
    assert not run_lock._held
    assert list((tmp_path / "out" / "run").glob("*.pth"))
