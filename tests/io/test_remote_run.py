"""Runs whose folder is a URL."""

import os

import pytest
import torch
from remote_storage import FlakyFileSystem, close_all, quick, register

from trainwright.base.errors import CheckpointError, WorkDirError
from trainwright.checkpoint import CheckpointManager, read_checkpoint
from trainwright.io.remote import RemoteFolder, committed
from trainwright.io.remote_run import local_dir, remote_of, staged, staging_folder
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


@pytest.fixture(autouse=True)
def staging(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINWRIGHT_STAGING", str(tmp_path / "staging"))
    register()
    yield tmp_path / "staging"
    close_all()


@pytest.fixture(params=["memory", "flaky"])
def url(request, tmp_path):
    where = f"memory://{tmp_path.name}/run" if request.param == "memory" else f"flaky://{tmp_path}/storage/run"
    yield where
    RemoteFolder(where).remove("")


def another_machine(staging):
    """What is left of the local folders after the machine is gone: nothing."""
    close_all()
    for path in sorted(staging.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def there(url):
    return sorted(commit.name for commit in committed(RemoteFolder(url))[0])


def config(url, n_epochs=3, **changes):
    hook = {"type": "CheckpointHook", "interval": 1, **changes.pop("checkpoint", {})}
    train_cfg = {"by_epoch": True, "max_epochs": n_epochs}
    return toy_config(url, train_cfg=train_cfg, default_hooks={"checkpoint": hook}, **changes)


def train(url, n_epochs=3, **changes):
    runner = Runner.from_cfg(config(url, n_epochs, **changes))
    runner.train()
    return runner


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_trained_resumed_on_another_machine_and_the_same(tmp_path, staging, url, layout):
    whole = train(tmp_path / "whole", 4)
    first = train(url, 2, checkpoint={"layout": layout, "max_keep_ckpts": 1}, log_level="INFO")
    end = ".pth" if layout == "file" else ""
    assert there(url) == [f"epoch_2{end}"]
    remote = RemoteFolder(url)
    assert remote.read("last_checkpoint") == f"{url}/epoch_2{end}".encode()
    log = f"{first.timestamp}/{first.timestamp}.log"
    assert b"Saving checkpoint at 2 epochs" in remote.read(log)
    assert remote.read(f"{first.timestamp}/vis_data/scalars.json")
    assert remote.read(".lock") is None
    assert first.work_dir == str(staging_folder(url))

    another_machine(staging)
    second = train(url, 4, resume=True, checkpoint={"layout": layout, "max_keep_ckpts": 1})
    assert second.iter == whole.iter
    assert there(url) == [f"epoch_4{end}"]
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], weight)


def test_a_published_copy_is_there_too_and_is_no_checkpoint_to_resume_from(tmp_path, staging):
    url = f"flaky://{tmp_path}/storage/run"
    train(url, 1, checkpoint={"published_keys": ["state_dict"]})
    published = [name for name in there(url) if name.startswith("epoch_1-")]
    assert len(published) == 1
    assert read_checkpoint(f"{url}/{published[0]}").keys() == {"state_dict"}
    another_machine(staging)
    assert [os.path.basename(path) for path in CheckpointManager(url).candidates()] == ["epoch_1.pth"]


def test_an_out_dir_that_is_a_url(tmp_path, staging, url):
    base = url.rpartition("/")[0] + "/out"
    work_dir = tmp_path / "run"
    train(work_dir, 2, checkpoint={"out_dir": base, "save_best": "auto"})
    assert there(f"{base}/run")[-1] == "epoch_2.pth"
    assert not list(work_dir.glob("*.pth"))
    assert (work_dir / "last_checkpoint").read_text() == f"{base}/run/epoch_2.pth"
    another_machine(staging)
    runner = train(work_dir, 3, resume=True, checkpoint={"out_dir": base, "save_best": "auto"})
    assert len(runner.message_hub.get_scalar("train/loss")) == 12
    RemoteFolder(base).remove("")


def test_a_storage_that_fails_stops_nothing_and_is_caught_up_with(tmp_path, capsys):
    url = f"flaky://{tmp_path}/storage/run"
    run = quick(staged(url))
    FlakyFileSystem.to_fail = 5
    train(url, 3)
    assert there(url) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]
    assert "failed and is tried again in 0.001 s: ConnectionError: the line is dead" in capsys.readouterr().err
    assert remote_of(run.folder) is run


def test_a_storage_that_is_gone_is_reported_and_the_next_run_catches_up(tmp_path, capsys):
    url = f"flaky://{tmp_path}/storage/run"
    run = quick(staged(url))
    run.uploads.n_tries, run.flush_s = 2, 20.0
    FlakyFileSystem.to_fail = 10**6
    runner = train(url, 2)
    assert runner.iter == 8
    said = capsys.readouterr().err
    assert "the upload of epoch_1.pth failed 2 times and is given up" in said
    assert f"not everything is on {url}:" in said
    assert "the upload of epoch_2.pth" in said.rpartition("not everything")[2]
    assert there(url) == []

    close_all()  # the machine stays, and the storage is back
    FlakyFileSystem.to_fail = 0
    quick(staged(url))
    again = train(url, 3, resume=True)
    assert again.iter == 12
    assert "epoch_3.pth" in there(url)
    assert "epoch_2.pth" in there(url)


def test_an_out_dir_that_is_gone_is_caught_up_with_too(tmp_path):
    base = f"flaky://{tmp_path}/storage"
    run = quick(staged(f"{base}/run"))
    run.uploads.n_tries = 1
    FlakyFileSystem.to_fail = 10**6
    train(tmp_path / "run", 1, checkpoint={"out_dir": base})
    close_all()
    FlakyFileSystem.to_fail = 0
    runner = train(tmp_path / "run", 2, resume=True, checkpoint={"out_dir": base})
    assert len(runner.message_hub.get_scalar("train/loss")) == 8
    assert there(f"{base}/run") == ["epoch_1.pth", "epoch_2.pth"]


def test_an_unreachable_storage_begins_nothing_anew(tmp_path):
    url = f"flaky://{tmp_path}/storage/run"
    quick(staged(url))
    FlakyFileSystem.unreachable = True
    with pytest.raises(WorkDirError, match="could not be listed.*no route to the storage.*Nothing was begun"):
        train(url, 1, resume=True)


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_a_damaged_newest_one_on_the_storage(tmp_path, staging, capsys, layout):
    url = f"flaky://{tmp_path}/storage/run"
    manager = CheckpointManager(url)
    for n_iters in (1, 2, 3):
        tree = {"meta": {"iter": n_iters, "epoch": 0}, "state_dict": {"w": torch.full((50,), float(n_iters))}}
        manager.save(f"iter_{n_iters}.pth", tree, layout)
    assert manager.remote.flush() == []
    newest = committed(RemoteFolder(url))[0][-1]
    damaged = tmp_path / "storage" / "run" / max(newest.files.values(), key=lambda file: file.size).key
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(bytes(data))
    another_machine(staging)
    manager = CheckpointManager(url)
    end = ".pth" if layout == "file" else ""
    assert [os.path.basename(path) for path in manager.candidates()] == [f"iter_{n}{end}" for n in (3, 2, 1)]
    found = manager.latest()
    assert os.path.basename(found) == f"iter_2{end}"
    assert read_checkpoint(found)["state_dict"]["w"][0] == 2
    said = capsys.readouterr().err
    assert said.count("skipped a checkpoint that does not verify") == 1
    assert "its bytes are not those that were uploaded" in said


def test_what_is_here_comes_before_what_is_there(tmp_path, staging):
    url = f"flaky://{tmp_path}/storage/run"
    manager = CheckpointManager(url)
    tree = {"meta": {"iter": 5}, "state_dict": {"w": torch.ones(5)}}
    path = manager.save("iter_5.pth", tree)
    assert manager.remote.flush() == []
    FlakyFileSystem.calls.clear()
    assert manager.latest() == path
    with open(path, "wb") as file:
        file.write(b"spoilt here")
    assert manager.latest() == path  # fetched
    assert read_checkpoint(path)["meta"]["iter"] == 5


def test_old_ones_go_there_only_when_the_newer_one_has_arrived(tmp_path):
    url = f"flaky://{tmp_path}/storage/run"
    manager = CheckpointManager(url)
    run = quick(manager.remote)
    run.uploads.n_tries = 1
    tree = {"meta": {"iter": 1}, "state_dict": {"w": torch.ones(5)}}
    old = manager.save("iter_1.pth", tree)
    assert run.flush() == []
    FlakyFileSystem.to_fail = 1
    new = manager.save("iter_2.pth", {**tree, "meta": {"iter": 2}})
    assert manager.purge([old], new) == [old]
    run.uploads.flush(30)
    assert there(url) == ["iter_1.pth"]
    assert os.listdir(run.folder) == ["iter_2.pth"]
    assert run.flush() == []  # the upload is made up for, and then the old one goes
    assert there(url) == ["iter_2.pth"]


def test_an_upload_holds_what_is_deleted_meanwhile(tmp_path):
    url = f"flaky://{tmp_path}/storage/run"
    for layout in ("file", "folder"):
        manager = CheckpointManager(url)
        tree = {"meta": {"iter": 1}, "state_dict": {"w": torch.ones(5)}}
        FlakyFileSystem.to_fail = 2
        quick(manager.remote)
        path = manager.save("iter_1.pth", tree, layout)
        local = CheckpointManager(manager.folder)
        local.remote = None
        local.remove(path)
        manager.remote.uploads.flush(30)
        assert os.path.basename(path) in there(url)
        assert os.listdir(manager.folder) == []


def test_urls_that_cannot_be_used():
    with pytest.raises(WorkDirError, match="the storage 'nosuch://x/y' cannot be used: Protocol not known"):
        local_dir("nosuch://x/y", "work_dir")
    with pytest.raises(WorkDirError, match="nosuch"):
        CheckpointManager("nosuch://x/y")


def test_the_same_url_is_the_same_run(tmp_path):
    url = f"flaky://{tmp_path}/storage/run"
    assert staged(url) is staged(url + "/")
    assert remote_of(staged(url).folder) is staged(url)
    assert remote_of(tmp_path) is None
    assert staging_folder(url) != staging_folder(url + "2")
    assert staged(url).url_of("/a/b/iter_1.pth") == f"{url}/iter_1.pth"


def test_a_damaged_one_alone_is_no_checkpoint(tmp_path, staging):
    url = f"flaky://{tmp_path}/storage/run"
    manager = CheckpointManager(url)
    manager.save("iter_1.pth", {"meta": {"iter": 1}, "state_dict": {}})
    assert manager.remote.flush() == []
    (tmp_path / "storage" / "run" / "iter_1.pth").write_bytes(b"")
    another_machine(staging)
    manager = CheckpointManager(url)
    assert manager.latest() is None
    with pytest.raises(CheckpointError, match="is damaged"):
        manager.remote.fetch(manager.remote.commits()[0])
