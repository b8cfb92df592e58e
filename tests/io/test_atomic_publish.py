import os

import pytest

from trainwright.base.errors import WorkDirError
from trainwright.io import atomic_write_bytes, atomic_write_text, publish, writable_dir


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_content_is_published_and_nothing_else_is_left(tmp_path):
    atomic_write_bytes(tmp_path / "a.bin", b"\x00\x01")
    atomic_write_bytes(tmp_path / "b.bin", memoryview(b"view"))
    atomic_write_text(tmp_path / "c.txt", "grün\nline")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\x01"
    assert (tmp_path / "b.bin").read_bytes() == b"view"
    assert (tmp_path / "c.txt").read_bytes() == "grün\nline".encode()
    assert names_in(tmp_path) == ["a.bin", "b.bin", "c.txt"]


def test_an_old_file_is_replaced_whole(tmp_path):
    target = tmp_path / "x"
    target.write_bytes(b"a much longer old content")
    atomic_write_bytes(str(target), b"new")
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failing_writer_leaves_the_old_file_and_no_temporary_one(tmp_path, error):
    target = tmp_path / "x"
    target.write_bytes(b"old")

    def write(file):
        file.write(b"half of the n")
        raise error

    with pytest.raises(type(error)):
        publish(target, write)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["x"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_system_call_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch, call):
    target = tmp_path / "x"
    target.write_bytes(b"old")

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="Input/output error"):
        atomic_write_bytes(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["x"]


def test_order_of_write_fsync_rename_and_fsync_of_the_folder(tmp_path, monkeypatch):
    target = tmp_path / "x"
    target.write_bytes(b"old")
    done = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd):
        path = os.readlink(f"/proc/self/fd/{fd}")
        if os.path.isdir(path):
            done.append(("fsync folder", path, target.read_bytes()))
        else:
            done.append(("fsync file", path, os.stat(fd).st_size))
        real_fsync(fd)

    def replace(source, destination):
        done.append(("rename", str(source), target.read_bytes()))
        real_replace(source, destination)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    atomic_write_bytes(target, b"content")
    (first, written_to, size), (second, renamed, seen_before), (third, folder, seen_after) = done
    assert (first, second, third) == ("fsync file", "rename", "fsync folder")
    assert size == len(b"content")  # flushed before it was synced
    assert written_to == renamed
    assert os.path.dirname(renamed) == folder == str(tmp_path)
    assert (seen_before, seen_after) == (b"old", b"content")


def test_a_missing_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_write_bytes(tmp_path / "no" / "x", b"")


def test_writable_dir_makes_the_folder_and_leaves_no_probe(tmp_path):
    folder = writable_dir(tmp_path / "a" / "b", "work_dir")
    assert folder == tmp_path / "a" / "b"
    assert names_in(folder) == []


def test_writable_dir_is_absolute_and_knows_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert writable_dir("~/runs", "work_dir") == tmp_path / "runs"
    assert writable_dir("here", "work_dir") == tmp_path / "here"


def test_a_folder_below_a_file_names_the_knob(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkDirError) as caught:
        writable_dir(tmp_path / "file" / "run", "out_dir")
    message = str(caught.value)
    assert f"out_dir {str(tmp_path / 'file' / 'run')!r} cannot be written: Not a directory" in message
    assert "the run was not started" in message
    assert "out_dir=..." in message
    assert isinstance(caught.value, OSError)


def test_a_full_disk_is_found_and_the_probe_removed(tmp_path, monkeypatch):
    def write_bytes(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", write_bytes)
    with pytest.raises(WorkDirError, match="No space left on device"):
        writable_dir(tmp_path, "work_dir")
    assert names_in(tmp_path) == []
