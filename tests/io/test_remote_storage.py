"""Checkpoints on a storage: whole or not there, whatever breaks off."""

import json
import shutil

import pytest
from remote_storage import FlakyFileSystem, register

from trainwright.base.errors import CheckpointError
from trainwright.io.remote import COMMIT, Commit, RemoteFolder, committed, delete, download, is_committed, upload


@pytest.fixture(params=["memory", "flaky"])
def remote(request, tmp_path):
    register()
    url = f"memory://{tmp_path.name}/run" if request.param == "memory" else f"flaky://{tmp_path}/storage/run"
    folder = RemoteFolder(url)
    yield folder
    folder.remove("")


@pytest.fixture
def local(tmp_path):
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "iter_1.pth").write_bytes(b"one" * 1000)
    step = folder / "iter_2"
    step.mkdir()
    (step / "MANIFEST.json").write_bytes(b"{}")
    (step / "tensors-00000-of-00001.safetensors").write_bytes(b"two" * 1000)
    return folder


@pytest.mark.parametrize("name", ["iter_1.pth", "iter_2"])
def test_there_and_back(remote, local, tmp_path, name):
    assert committed(remote) == ([], [])
    commit = upload(remote, name, local / name, {"iter": 7})
    assert committed(remote) == ([commit], [])
    assert is_committed(remote, name)
    assert (commit.name, commit.counters, commit.is_folder) == (name, {"iter": 7}, name == "iter_2")
    target = tmp_path / "fetched"
    target.mkdir()
    found = download(remote, commit, target)
    assert [path.name for path in target.iterdir()] == [name]
    files = sorted(found.iterdir()) if found.is_dir() else [found]
    for file in files:
        assert file.read_bytes() == (local / file.relative_to(target)).read_bytes()
    delete(remote, name)
    delete(remote, name)  # gone already
    assert remote.names() == {}


def test_final_names_and_the_commit_object_last(local, tmp_path):
    register()
    remote = RemoteFolder(f"flaky://{tmp_path}/storage/run")
    upload(remote, "iter_2", local / "iter_2", {})
    upload(remote, "iter_1.pth", local / "iter_1.pth", {})
    there = tmp_path / "storage" / "run"
    assert (there / "iter_1.pth").read_bytes() == b"one" * 1000
    assert sorted(path.name for path in (there / "iter_2").iterdir()) == [
        COMMIT,
        "MANIFEST.json",
        "tensors-00000-of-00001.safetensors",
    ]
    written = [call for call in FlakyFileSystem.calls if not call.endswith("/")]
    assert written == [
        "put MANIFEST.json",
        "put tensors-00000-of-00001.safetensors",
        f"write {COMMIT}",
        "put iter_1.pth",
        f"write iter_1.pth.{COMMIT}",
    ]


@pytest.mark.parametrize(
    ("name", "n_done"), [("iter_1.pth", 0), ("iter_1.pth", 1), ("iter_2", 0), ("iter_2", 1), ("iter_2", 2)]
)
def test_an_upload_that_breaks_off_is_no_checkpoint(local, tmp_path, name, n_done):
    register()
    remote = RemoteFolder(f"flaky://{tmp_path}/storage/run")
    seen = 0

    def put(self, *args, _real=FlakyFileSystem._may_fail):
        nonlocal seen
        seen += 1
        if seen > n_done:
            raise ConnectionError("dead")

    FlakyFileSystem._may_fail, real = put, FlakyFileSystem._may_fail
    try:
        with pytest.raises(ConnectionError):
            upload(remote, name, local / name, {})
    finally:
        FlakyFileSystem._may_fail = real
    commits, complaints = committed(remote)
    assert commits == []
    assert not is_committed(remote, name)
    if name == "iter_2" and n_done == 2:
        assert "has no COMMIT object: its upload did not finish" in complaints[0]
    upload(remote, name, local / name, {})  # a second attempt mends it
    assert [commit.name for commit in committed(remote)[0]] == [name]


@pytest.mark.parametrize("name", ["iter_1.pth", "iter_2"])
def test_the_same_name_again_never_takes_the_old_one_away(local, tmp_path, name):
    register()
    remote = RemoteFolder(f"flaky://{tmp_path}/storage/run")
    first = upload(remote, name, local / name, {"iter": 1})
    assert upload(remote, name, local / name, {"iter": 1}) == first  # the same bytes: nothing to do
    changed = local / name if name == "iter_1.pth" else local / name / "MANIFEST.json"
    changed.write_bytes(b"new")
    FlakyFileSystem.to_fail = 1
    with pytest.raises(ConnectionError):
        upload(remote, name, local / name, {"iter": 2})
    assert committed(remote) == ([first], [])
    old = tmp_path / "old"
    old.mkdir()
    download(remote, first, old)
    second = upload(remote, name, local / name, {"iter": 2})
    assert committed(remote) == ([second], [])
    new = tmp_path / "new"
    new.mkdir()
    found = download(remote, second, new)
    assert (found if found.is_file() else found / "MANIFEST.json").read_bytes() == b"new"
    delete(remote, name)
    assert remote.names() == {}


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
@pytest.mark.parametrize("name", ["iter_1.pth", "iter_2"])
def test_damage_on_the_storage_is_seen(local, tmp_path, name, damage):
    register()
    remote = RemoteFolder(f"flaky://{tmp_path}/storage/run")
    commit = upload(remote, name, local / name, {})
    file = tmp_path / "storage" / "run" / next(iter(commit.files.values())).key
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-1] if damage == "cut" else bytes([data[0] ^ 1]) + data[1:])
    target = tmp_path / "fetched"
    target.mkdir()
    with pytest.raises(CheckpointError, match="is missing, and" if damage == "gone" else "its bytes are not those"):
        download(remote, commit, target)
    assert list(target.iterdir()) == []


def test_every_torn_commit_object_is_refused():
    whole = Commit("a.pth", False, {"iter": 1}, {"a.pth": ("a.pth", 3, "0" * 64)}).to_bytes()
    assert Commit.from_bytes(whole, "a.pth").counters == {"iter": 1}
    for n in range(len(whole)):
        with pytest.raises(CheckpointError, match="COMMIT object of 'a.pth' is damaged"):
            Commit.from_bytes(whole[:n], "a.pth")
    with pytest.raises(CheckpointError, match="is damaged"):
        Commit.from_bytes(whole, "b.pth")  # copied to another name
    for at in range(len(whole)):
        flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        with pytest.raises(CheckpointError, match="damaged"):
            Commit.from_bytes(flipped, "a.pth")


@pytest.mark.parametrize("file", [("../x", "x"), ("x", "../x"), ("x", "a//x"), ("", "x"), ("x", "/etc/x")])
def test_a_commit_object_that_points_elsewhere(file):
    forged = Commit("a", True, {}, {file[0]: (file[1], 3, "0" * 64)}).to_bytes()
    with pytest.raises(CheckpointError, match="which is no file of it"):
        Commit.from_bytes(forged, "a")


def test_what_is_said_of_a_damaged_commit_object(local, tmp_path):
    register()
    remote = RemoteFolder(f"flaky://{tmp_path}/storage/run")
    upload(remote, "iter_1.pth", local / "iter_1.pth", {"iter": 1})
    upload(remote, "iter_2", local / "iter_2", {"iter": 2})
    target = tmp_path / "storage" / "run" / "iter_2" / COMMIT
    body = json.loads(target.read_text())
    target.write_text(json.dumps({**body, "counters": {"iter": 99}}))
    commits, complaints = committed(remote)
    assert [commit.name for commit in commits] == ["iter_1.pth"]
    assert complaints == [f"the COMMIT object of 'iter_2' is damaged at {remote.url}"]
    shutil.rmtree(tmp_path / "storage")
    assert committed(remote) == ([], [])
