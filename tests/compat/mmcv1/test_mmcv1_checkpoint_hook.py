import logging
import os
from unittest import mock

import pytest
import torch
from mmcv1_suite import TwoParts, ones

from trainwright.checkpoint import CheckpointManager
from trainwright.compat.mmcv1.fileio import FileClient
from trainwright.compat.mmcv1.fileio.backends import HardDiskBackend
from trainwright.compat.mmcv1.runner import CheckpointHook, EpochBasedRunner, IterBasedRunner

N_BATCHES = 5


def a_runner(work_dir, hook, kind=EpochBasedRunner, meta=(), **length):
    torch.manual_seed(0)
    model = TwoParts()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    logger = logging.getLogger("mmcv1_checkpoint_hook")
    meta = None if meta is None else dict(meta)
    runner = kind(model, optimizer=optimizer, work_dir=str(work_dir), logger=logger, meta=meta, **length)
    runner.register_hook(hook)
    return runner


def trained(work_dir, hook, kind=EpochBasedRunner, **settings):
    runner = a_runner(work_dir, hook, kind, **settings)
    runner.run([ones(N_BATCHES)], [("train", 1)])
    return runner


def files(folder):
    return sorted(name for name in os.listdir(folder) if name.endswith(".pth"))


@pytest.mark.parametrize(
    ("settings", "n_epochs", "expected"),
    [
        ({"interval": 1}, 3, [1, 2, 3]),
        ({"interval": 2}, 5, [2, 4, 5]),
        ({"interval": 2, "save_last": False}, 5, [2, 4]),
        ({}, 3, [3]),
        ({"save_last": False}, 3, []),
        ({"interval": 1, "max_keep_ckpts": 2}, 5, [4, 5]),
        ({"interval": 1, "max_keep_ckpts": 1}, 4, [4]),
        ({"interval": 2, "max_keep_ckpts": 1}, 4, [4]),
        ({"max_keep_ckpts": 1}, 2, [2]),
    ],
)
def test_by_epoch(settings, n_epochs, expected, tmp_path):
    runner = trained(tmp_path, CheckpointHook(**settings), max_epochs=n_epochs)
    latest = ["latest.pth"] if expected else []
    assert files(tmp_path) == [f"epoch_{number}.pth" for number in expected] + latest
    if expected:
        assert runner.meta["hook_msgs"]["last_ckpt"] == os.path.join(runner.work_dir, f"epoch_{n_epochs}.pth") or (
            not settings.get("save_last", True)
        )
        assert os.readlink(tmp_path / "latest.pth") == f"epoch_{expected[-1]}.pth"


@pytest.mark.parametrize(
    ("settings", "n_iters", "expected"),
    [
        ({"interval": 2}, 5, [2, 4, 5]),
        ({"interval": 3, "max_keep_ckpts": 2}, 12, [12, 9]),
        ({"interval": 1, "max_keep_ckpts": 1, "filename_tmpl": "at_{}.pth"}, 4, [4]),
    ],
)
def test_by_iteration(settings, n_iters, expected, tmp_path):
    name = settings.get("filename_tmpl", "iter_{}.pth")
    runner = trained(tmp_path, CheckpointHook(by_epoch=False, **settings), IterBasedRunner, max_iters=n_iters)
    assert files(tmp_path) == sorted([name.format(number) for number in expected] + ["latest.pth"])
    assert runner.meta["hook_msgs"]["last_ckpt"] == os.path.join(runner.work_dir, name.format(n_iters))


def test_iterations_of_a_run_of_epochs_have_the_name_that_meta_says(tmp_path):
    runner = trained(tmp_path, CheckpointHook(interval=2, by_epoch=False, max_keep_ckpts=1), max_epochs=1)
    assert files(tmp_path) == ["iter_4.pth", "iter_5.pth", "latest.pth"]
    assert runner.meta["hook_msgs"]["last_ckpt"] == os.path.join(runner.work_dir, "iter_5.pth")


def test_a_checkpoint_of_the_hook_is_resumed(tmp_path):
    whole = trained(tmp_path / "whole", CheckpointHook(interval=1), max_epochs=3)
    resumed = a_runner(tmp_path / "resumed", CheckpointHook(interval=1), max_epochs=3)
    resumed.resume(str(tmp_path / "whole" / "epoch_1.pth"))
    resumed.run([ones(N_BATCHES)], [("train", 1)])
    assert resumed.iter == whole.iter == 3 * N_BATCHES
    assert files(tmp_path / "resumed") == ["epoch_2.pth", "epoch_3.pth", "latest.pth"]


def test_what_a_resumed_run_came_from_stays(tmp_path):
    trained(tmp_path / "a" / "work", CheckpointHook(interval=1), max_epochs=2)
    resumed = a_runner(tmp_path / "b" / "work", CheckpointHook(interval=1, max_keep_ckpts=1), max_epochs=4)
    resumed.resume(str(tmp_path / "a" / "work" / "epoch_2.pth"))
    resumed.run([ones(N_BATCHES)], [("train", 1)])
    assert files(tmp_path / "a" / "work") == ["epoch_1.pth", "epoch_2.pth", "latest.pth"]
    assert files(tmp_path / "b" / "work") == ["epoch_4.pth", "latest.pth"]


def test_out_dir_gets_a_folder_of_the_name_of_the_run(tmp_path):
    hook = CheckpointHook(interval=1, out_dir=str(tmp_path / "out"))
    runner = trained(tmp_path / "work", hook, max_epochs=1)
    assert files(tmp_path / "out" / "work") == ["epoch_1.pth", "latest.pth"]
    assert files(tmp_path / "work") == []
    assert runner.meta["hook_msgs"]["last_ckpt"] == str(tmp_path / "out" / "work" / "epoch_1.pth")
    hook.before_run(runner)
    assert hook.out_dir == str(tmp_path / "out" / "work")  # it has the name once


def test_without_meta_nothing_is_noted(tmp_path):
    runner = trained(tmp_path, CheckpointHook(interval=1, create_symlink=False), meta=None, max_epochs=1)
    assert runner.meta is None
    assert files(tmp_path) == ["epoch_1.pth"]


def test_without_the_optimizer(tmp_path):
    trained(tmp_path, CheckpointHook(interval=1, save_optimizer=False), max_epochs=1)
    assert "optimizer" not in torch.load(tmp_path / "epoch_1.pth", weights_only=True)


def test_old_ones_go_when_the_new_one_is_whole(tmp_path, caplog):
    """While the newest does not verify, what is there stays."""
    hook = CheckpointHook(interval=1, max_keep_ckpts=1)
    runner = a_runner(tmp_path, hook, max_epochs=3)
    save = runner.save_checkpoint

    def spoilt(*args, **settings):
        save(*args, **settings)
        if settings["filename_tmpl"] == "epoch_2.pth":
            with open(tmp_path / "epoch_2.pth", "r+b") as file:
                file.truncate(1000)

    runner.save_checkpoint = spoilt
    deleted = []
    remove = CheckpointManager.remove

    def seen(manager, path, newest=None):
        deleted.append((os.path.basename(path), files(tmp_path)))
        remove(manager, path, newest)

    with mock.patch.object(CheckpointManager, "remove", seen):
        runner.run([ones(N_BATCHES)], [("train", 1)])
    assert deleted == [
        ("epoch_1.pth", ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "latest.pth"]),
        ("epoch_2.pth", ["epoch_2.pth", "epoch_3.pth", "latest.pth"]),
    ]
    assert files(tmp_path) == ["epoch_3.pth", "latest.pth"]


@pytest.mark.parametrize("n_epochs", [3, 4])
def test_what_a_kill_before_the_deletions_left_goes_when_the_run_goes_on(tmp_path, n_epochs):
    """Also where that has nothing left to save."""
    trained(tmp_path, CheckpointHook(interval=1), max_epochs=2)
    killed = a_runner(tmp_path, CheckpointHook(interval=1, max_keep_ckpts=2), max_epochs=n_epochs)
    killed.resume(str(tmp_path / "epoch_2.pth"))
    with (
        mock.patch.object(CheckpointManager, "purge_alone", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        killed.run([ones(N_BATCHES)], [("train", 1)])
    assert files(tmp_path) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth", "latest.pth"]
    again = a_runner(tmp_path, CheckpointHook(interval=1, max_keep_ckpts=1), max_epochs=n_epochs)
    again.resume(str(tmp_path / "epoch_3.pth"))
    again.run([ones(N_BATCHES)], [("train", 1)])
    assert files(tmp_path) == [f"epoch_{n_epochs}.pth", "latest.pth"]


def test_buffers_are_averaged_before(tmp_path):
    with mock.patch("trainwright.compat.mmcv1.runner.hooks.checkpoint.allreduce_params") as averaged:
        trained(tmp_path, CheckpointHook(interval=1, sync_buffer=True), max_epochs=2)
    assert averaged.call_count == 2


class Bucket(HardDiskBackend):
    """A storage of its own: under a folder, and without links."""

    _allow_symlink = False


@pytest.fixture
def bucket():
    tables = FileClient._backends, FileClient._prefix_to_backends, FileClient._instances
    before = [dict(table) for table in tables]
    FileClient.register_backend("bucket", Bucket)
    yield
    for table, then in zip(tables, before, strict=True):
        table.clear()
        table.update(then)


def test_a_storage_of_the_users_own(bucket, tmp_path):
    hook = CheckpointHook(
        interval=1,
        out_dir=str(tmp_path / "out"),
        max_keep_ckpts=1,
        file_client_args={"backend": "bucket"},
        create_symlink=True,
    )
    with pytest.warns(UserWarning, match="create_symlink=True, but Bucket has no symbolic links"):
        trained(tmp_path / "work", hook, max_epochs=3)
    assert files(tmp_path / "out" / "work") == ["epoch_3.pth"]


def test_it_is_called_where_it_saves():
    by_epoch, by_iter = CheckpointHook(), CheckpointHook(by_epoch=False)
    assert by_epoch.idle_at("after_train_iter")
    assert not by_epoch.idle_at("after_train_epoch")
    assert by_iter.idle_at("after_train_epoch")
    assert not by_iter.idle_at("after_train_iter")

    class Own(CheckpointHook):
        def after_train_iter(self, runner):
            pass

    assert not Own().idle_at("after_train_iter")
    by_epoch.after_train_iter = print
    assert not by_epoch.idle_at("after_train_iter")
