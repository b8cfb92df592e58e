"""Files and step folders side by side: what is found, verified, counted and deleted."""

import errno
import os
import shutil

import pytest
import torch

from trainwright.base.errors import CheckpointError, SaveError
from trainwright.checkpoint import CheckpointManager, manager, read_checkpoint
from trainwright.checkpoint.layouts import is_step_folder, n_bytes, name_in, signature


def tree(n_iters, epoch=0):
    return {"meta": {"iter": n_iters, "epoch": epoch}, "state_dict": {"w": torch.full((64,), float(n_iters))}}


@pytest.fixture
def folder(tmp_path):
    return CheckpointManager(tmp_path / "run")


def save(folder, n_iters, layout, epoch=0):
    return folder.save(f"iter_{n_iters}.pth", tree(n_iters, epoch), layout)


def test_names_of_both_layouts(folder):
    assert name_in("file", "iter_1.pth") == "iter_1.pth"
    assert name_in("folder", "iter_1.pth") == "iter_1"
    assert name_in("folder", "ckpt_1") == "ckpt_1"
    one, two = save(folder, 1, "file"), save(folder, 2, "folder")
    assert [os.path.basename(path) for path in (one, two)] == ["iter_1.pth", "iter_2"]
    assert is_step_folder(two)
    assert not is_step_folder(one)
    assert read_checkpoint(two)["meta"]["iter"] == 2


@pytest.mark.parametrize("order", [("file", "folder"), ("folder", "file")])
def test_the_more_advanced_of_both_layouts(folder, order):
    first, second = save(folder, 8, order[0]), save(folder, 30, order[1])
    assert folder.candidates() == [second, first]
    assert folder.latest() == second
    (folder.folder / "20260101_000000" / "vis_data").mkdir(parents=True)  # logs
    assert folder.candidates() == [second, first]


@pytest.mark.parametrize("file", ["MANIFEST.json", "state.pth", "rank-00000.pth", "tensors-00000-of-00001.safetensors"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_folder_is_skipped_with_one_line(folder, capsys, file, damage):
    good, bad = save(folder, 5, "file"), save(folder, 6, "folder")
    target = folder.folder / "iter_6" / file
    data = target.read_bytes()
    if damage == "gone":
        target.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        target.write_bytes({"flip": flipped, "cut": data[:-1], "empty": b""}[damage])
    assert folder.latest() == good
    told = [line for line in capsys.readouterr().err.splitlines() if "iter_6" in line]
    if (file, damage) != ("MANIFEST.json", "gone"):
        assert len(told) == 1
        assert "skipped a checkpoint that" in told[0]
    assert not folder.is_verified(bad)


def test_a_folder_of_a_swap_that_was_cut_off_counts(folder):
    path = save(folder, 4, "folder")
    save(folder, 3, "file")
    aside = f"{path}.old-0123"
    os.rename(path, aside)
    assert folder.latest() == aside
    again = save(folder, 4, "folder")
    shutil.copytree(again, aside, dirs_exist_ok=True)
    assert folder.latest() == again  # of two equal ones the one under its own name


def test_save_again_and_remove(folder):
    for layout in ("file", "folder"):
        save(folder, 1, layout)
        path = save(folder, 1, layout, epoch=9)
        assert read_checkpoint(path)["meta"]["epoch"] == 9
        folder.remove(path)
        folder.remove(path)
    assert os.listdir(folder.folder) == []


def test_purge_deletes_only_what_a_whole_one_has_replaced(folder, capsys):
    old = [save(folder, 1, "file"), save(folder, 2, "folder")]
    new = save(folder, 3, "file")
    with open(new, "r+b") as file:
        file.truncate(100)
    assert folder.purge(old, new) == []
    assert "nothing is deleted, because the newest checkpoint does not verify" in capsys.readouterr().err
    new = save(folder, 3, "file")
    assert folder.purge([*old, new, "gone.pth"], new) == [*old, new, "gone.pth"]
    assert os.listdir(folder.folder) == ["iter_3.pth"]


def test_what_cannot_be_deleted_is_told_and_tried_again(folder, monkeypatch, capsys):
    old, new = save(folder, 1, "file"), save(folder, 2, "file")

    def refuse(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", refuse)
        assert folder.purge([old], new) == []
    assert "iter_1.pth could not be deleted: Permission denied" in capsys.readouterr().err
    assert folder.purge([old], new) == [old]


def test_verified_once_as_long_as_nothing_changes(folder, monkeypatch):
    path = save(folder, 1, "folder")
    reads = []
    monkeypatch.setattr(manager, "check_folder", lambda path: reads.append(path))
    assert folder.is_verified(path)  # by the save itself
    assert reads == []
    other = CheckpointManager(folder.folder)
    assert other.is_verified(path)
    assert other.is_verified(path)
    assert reads == [path]
    os.utime(folder.folder / "iter_1" / "state.pth", (1, 1))
    assert other.is_verified(path)
    assert reads == [path, path]
    assert signature(str(folder.folder / "nothing")) is None
    assert not other.is_verified(str(folder.folder / "nothing"))


def test_sweep_takes_folders_too(folder):
    kept = save(folder, 1, "folder")
    for name in (".tmp-iter_2-0123456789abcdef", ".tmp-best_acc_epoch_3-0123", ".tmp-upload-0123"):
        (folder.folder / name).mkdir()
        (folder.folder / name / "state.pth").write_bytes(b"half")
    (folder.folder / ".tmp-last_checkpoint-0123").write_text("half")
    (folder.folder / ".tmp-mine").mkdir()
    assert folder.candidates() == [kept]
    folder.sweep()
    assert sorted(os.listdir(folder.folder)) == [".tmp-mine", "iter_1"]


@pytest.mark.parametrize("layout", ["file", "folder"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_storage_that_refuses(folder, monkeypatch, layout, code, call):
    old = save(folder, 1, layout)

    def refuse(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    names = {"fsync": ["fsync"], "rename": ["rename", "replace"]}[call]
    with monkeypatch.context() as patch:
        for name in names:
            patch.setattr(os, name, refuse)
        with pytest.raises(SaveError, match=f"was not written: .*{os.strerror(code)}.*Nothing of it is left"):
            save(folder, 2, layout)
    assert os.listdir(folder.folder) == [os.path.basename(old)]
    assert folder.latest() == old
    assert folder.latest() != save(folder, 2, layout)  # a new attempt


def test_what_is_no_fault_of_the_storage_is_raised_as_it_is(folder):
    with pytest.raises(CheckpointError, match="was not written") as caught:
        folder.save("iter_1.pth", {"meta": {"iter": 1}, "x": object()})
    assert not isinstance(caught.value, SaveError)
    with pytest.raises(CheckpointError, match="was not written") as caught:
        folder.save("iter_1.pth", {"meta": {"iter": 1}, "x": object()}, "folder")
    assert not isinstance(caught.value, SaveError)
    assert os.listdir(folder.folder) == []


def test_too_little_space_is_told_before(folder, monkeypatch, capsys):
    monkeypatch.setattr(manager, "free_bytes", lambda folder: 10)
    path = save(folder, 1, "file")
    said = capsys.readouterr().err
    assert f"the checkpoint {path} takes about" in said
    assert "its disk has 0.0 MB free: the save is tried and will probably fail" in said
    assert "max_keep_ckpts" in said
    monkeypatch.setattr(manager, "free_bytes", lambda folder: 10**9)
    save(folder, 2, "file")
    assert "free" not in capsys.readouterr().err


def test_bytes_of_a_tree():
    shared = torch.ones(10)
    assert n_bytes({"a": [torch.ones(3), (torch.ones(2, dtype=torch.int8),)], "b": {"c": shared}, "d": 5}) == 54
    endless = {"a": torch.ones(1)}
    endless["again"] = endless
    assert n_bytes(endless) == 4


def test_a_manifest_without_counters_is_no_candidate(folder, capsys):
    folder.save("weights", {"state_dict": {"w": torch.ones(2)}}, "folder")
    assert folder.latest() is None
    assert "its manifest does not say the iteration" in capsys.readouterr().err
