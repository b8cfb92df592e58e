"""Files of this machine: what is written appears as a whole."""

import os
import stat
import threading
from pathlib import Path
from unittest import mock

import pytest

from trainwright.base.errors import ConfigTypeError, UnsupportedOperationError
from trainwright.io import LocalBackend, atomic, copytree, dump, load, put, put_text, temporary
from trainwright.io.handlers import BaseFileHandler, JsonHandler, YamlHandler


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    dump([1], path)
    for broken in ("fsync", "replace"):
        with mock.patch.object(os, broken, side_effect=OSError("disk full")), pytest.raises(OSError, match="disk full"):
            put(b"half", path)
    with pytest.raises(TypeError, match="bytes-like"):
        put("text", tmp_path / "b.json")
    with pytest.raises(TypeError, match="unsupported for json dump"):
        dump({"a": object()}, path)
    assert os.listdir(tmp_path) == ["a.json"]
    assert load(path) == [1]


def test_only_what_replaces_something_waits_for_the_disk(tmp_path):
    with mock.patch.object(os, "fsync", wraps=os.fsync) as fsync:
        put(b"1", tmp_path / "a")
        assert fsync.call_count == 0
        put(b"2", tmp_path / "a")
        assert fsync.call_count == 2  # the file and its name
        atomic.atomic_write_bytes(tmp_path / "b", b"3")
        assert fsync.call_count == 4
    assert (tmp_path / "a").read_bytes() == b"2"


def test_a_link_is_written_through_and_a_mode_stays(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o600)
    (tmp_path / "link").symlink_to("real")
    put(b"new", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o600
    (tmp_path / "plain").write_bytes(b"")
    put(b"", tmp_path / "fresh")
    assert (tmp_path / "fresh").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_is_no_ordinary_file_stays_what_it_is(tmp_path):
    put(b"away", "/dev/null")
    LocalBackend().copyfile(__file__, "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    os.mkfifo(tmp_path / "pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    put_text("through", tmp_path / "pipe")
    reader.join()
    assert got == [b"through"]
    with pytest.raises(IsADirectoryError):
        put(b"", tmp_path)


def test_a_file_that_must_not_be_written(tmp_path):
    put(b"kept", tmp_path / "a")
    with mock.patch.object(os, "access", return_value=False), pytest.raises(PermissionError, match="give it the"):
        put(b"new", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"kept"


def test_in_the_current_folder_and_with_a_long_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_text("here", "a.txt")
    put_text("long", "x" * 250)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "x" * 250]
    assert len(temporary("\u4e2d" * 80).name.encode()) < 255


def test_a_copy_of_a_folder_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(b"1")
    (tmp_path / "src" / "b").symlink_to("nowhere")
    with pytest.raises(Exception, match="nowhere|No such file"):
        copytree(tmp_path / "src", tmp_path / "dst")
    assert os.listdir(tmp_path) == ["src"]
    with pytest.raises(FileExistsError, match=r"dst '.*/src' exists: remove it first by rmtree, or give another dst"):
        copytree(tmp_path / "src", tmp_path / "src")
    with pytest.raises(FileNotFoundError):
        copytree(tmp_path / "none", tmp_path / "dst")


def test_a_folder_is_copied_into_itself_once(tmp_path):
    put(b"1", tmp_path / "a")
    assert copytree(tmp_path, tmp_path / "copy") == tmp_path / "copy"
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"a", "copy", "copy/a"}


def test_handlers_write_paths_as_a_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    JsonHandler().dump_to_path({"a": 1}, path)
    with pytest.raises(TypeError):
        JsonHandler().dump_to_path({"a": object()}, path)
    assert JsonHandler().load_from_path(path) == {"a": 1}
    YamlHandler().dump_to_path({"b": 2}, path, mode="a")  # as open does
    assert path.read_text() == '{"a": 1}b: 2\n'

    class Raw(BaseFileHandler):
        str_like = False

        def load_from_fileobj(self, file, **kwargs):
            return file.read()

        def dump_to_fileobj(self, obj, file, **kwargs):
            file.write(obj)

        def dump_to_str(self, obj, **kwargs):
            return obj

    Raw().dump_to_path(b"\xff", path, mode="wb")
    assert Raw().load_from_path(path, mode="rb") == b"\xff"


def test_what_the_disk_cannot_do(tmp_path):
    with pytest.raises(UnsupportedOperationError, match="LocalBackend has no generate_presigned_url; it has get"):
        LocalBackend().generate_presigned_url("x")
    assert not hasattr(LocalBackend(), "generate_presigned_url")
    with pytest.raises(AttributeError, match="'LocalBackend' object has no attribute 'putt'"):
        _ = LocalBackend().putt
    assert LocalBackend().join_path(Path("a"), "b") == "a/b"


def test_text_is_a_str_and_a_target_has_a_folder(tmp_path):
    with pytest.raises(ConfigTypeError, match="put_text writes a str, got bytes: bytes are written by put"):
        put_text(b"a", tmp_path / "text")
    assert not (tmp_path / "text").exists()
    (tmp_path / "source").write_text("a")
    target = tmp_path / "missing" / "copy"
    with pytest.raises(FileNotFoundError, match=f"there is no folder {target.parent}: '{target}'"):
        LocalBackend().copyfile(tmp_path / "source", target)
