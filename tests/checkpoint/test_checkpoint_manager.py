import os
import shutil

import pytest
import torch

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import CheckpointManager, read_file, write_file
from trainwright.io.atomic import TMP_PREFIX


def tree(n_iters, epoch=0):
    return {"meta": {"iter": n_iters, "epoch": epoch}, "state_dict": {"w": torch.full((64,), float(n_iters))}}


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path / "run")


def test_save_makes_the_folder_and_returns_the_path(manager, tmp_path):
    path = manager.save("iter_1.pth", tree(1))
    assert path == str(tmp_path / "run" / "iter_1.pth")
    assert read_file(path)["meta"]["iter"] == 1


def test_nothing_there(manager, tmp_path):
    assert manager.latest() is None  # no folder
    (tmp_path / "run").mkdir()
    assert manager.latest() is None


def test_latest_goes_by_iterations_not_by_time_name_or_hint(manager):
    far = manager.save("iter_9.pth", tree(100))
    old = manager.save("iter_50.pth", tree(50))
    manager.save("epoch_99.pth", tree(10))
    os.utime(far, (1, 1))
    manager.point_to(old)
    assert manager.latest() == far
    assert manager.candidates() == [far, old, str(manager.folder / "epoch_99.pth")]


def test_of_equals_the_regular_one_counts(manager):
    regular = manager.save("epoch_2.pth", tree(20, 2))
    manager.save("best_acc_epoch_2.pth", tree(20, 2))
    manager.save("zzz.pth", tree(20, 2))
    assert manager.latest() == regular


def test_a_closed_epoch_is_further_than_an_open_one(manager):
    manager.save("iter_20.pth", tree(20, 1))
    closed = manager.save("epoch_2.pth", tree(20, 2))
    assert manager.latest() == closed


def test_of_those_that_are_as_far_the_one_that_the_hint_names_was_saved_last(manager):
    manager.save("epoch_2.pth", tree(20, 2))
    other = manager.save("iter_20.pth", tree(20))  # of a run that counts iterations, in the same folder
    manager.point_to(other)
    assert manager.latest() == other


def test_a_best_file_counts_when_it_is_the_furthest(manager):
    manager.save("epoch_1.pth", tree(10, 1))
    best = manager.save("best_acc_epoch_2.pth", tree(20, 2))
    assert manager.latest() == best


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "text", "table"])
def test_a_damaged_newest_file_is_skipped_with_a_warning(manager, capsys, damage):
    good = manager.save("iter_5.pth", tree(5))
    bad = manager.save("iter_6.pth", tree(6))
    with open(bad, "rb") as file:
        whole = file.read()
    middle = whole.index(torch.tensor(6.0).numpy().tobytes() * 8)
    table = whole.index(b"PK\x01\x02") + 8
    content = {
        "empty": b"",
        "cut": whole[:-30],
        "bit": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "text": b"not yet",
        "table": whole[:table] + bytes([whole[table] ^ 1]) + whole[table + 1 :],
    }[damage]
    with open(bad, "wb") as file:
        file.write(content)
    assert manager.latest() == good
    said = capsys.readouterr().err
    assert "skipped a checkpoint that" in said
    assert "iter_6.pth" in said


def test_weights_without_training_state_are_no_candidate(manager, capsys):
    manager.save("pretrained.pth", {"state_dict": {"w": torch.ones(1)}})
    assert manager.latest() is None
    assert "pretrained.pth" in capsys.readouterr().err


def test_the_hint_shows_another_folder(manager, tmp_path):
    manager.save("iter_3.pth", tree(3))
    elsewhere = CheckpointManager(tmp_path / "out")
    path = elsewhere.save("iter_9.pth", tree(9))
    elsewhere.point_to(path, manager.folder)
    assert (manager.folder / "last_checkpoint").read_text() == path
    assert manager.latest() == path


@pytest.mark.parametrize("text", ["", "\n", "/no/such/folder/iter_1.pth"])
def test_a_useless_hint_does_no_harm(manager, tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    write_file(tmp_path / "other_run.pth", tree(1000))  # in the working folder, of no concern
    path = manager.save("iter_3.pth", tree(3))
    (manager.folder / "last_checkpoint").write_text(text)
    assert manager.latest() == path


def test_a_copied_run_does_not_go_on_from_the_original(manager, tmp_path):
    manager.point_to(manager.save("iter_3.pth", tree(3)))
    shutil.copytree(manager.folder, tmp_path / "copy")
    manager.save("iter_7.pth", tree(7))  # the original goes on
    assert CheckpointManager(tmp_path / "copy").latest() == str(tmp_path / "copy" / "iter_3.pth")


def test_remove(manager):
    path = manager.save("iter_1.pth", tree(1))
    manager.remove(path)
    manager.remove(path)  # gone already
    assert manager.latest() is None


def test_sweep_takes_the_leavings_of_killed_saves_only(manager):
    kept = manager.save("iter_1.pth", tree(1))
    leaving = manager.folder / f"{TMP_PREFIX}iter_2.pth-0123456789abcdef"
    leaving.write_bytes(b"half")
    notes = manager.folder / "notes.txt"
    notes.write_text("mine")
    assert manager.latest() == kept  # never looked at
    manager.sweep()
    assert sorted(manager.folder.iterdir()) == sorted([notes, manager.folder / "iter_1.pth"])


def test_a_failed_save_keeps_the_old_files(manager):
    old = manager.save("iter_1.pth", tree(1))
    with pytest.raises(CheckpointError, match="was not written"):
        manager.save("iter_2.pth", {"meta": {"iter": 2}, "x": object()})
    assert manager.latest() == old
    assert os.listdir(manager.folder) == ["iter_1.pth"]


def test_the_layout_belongs_to_whoever_supplies_it(tmp_path):
    saved = {}
    manager = CheckpointManager(tmp_path, lambda path, tree: saved.update({path: tree}), read_file)
    path = manager.save("x.pth", {"a": 1})
    assert saved == {path: {"a": 1}}
