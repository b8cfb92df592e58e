"""Which checkpoints CheckpointHook keeps, in which layout, and saving by time."""

import pytest

from trainwright.checkpoint import CheckpointManager
from trainwright.engine import Hook
from trainwright.hooks import CheckpointHook, save_timer
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


def train(folder, max_epochs=6, metric=None, hooks=(), **changes):
    settings = {"type": "CheckpointHook", "interval": 1, **changes}
    resume = settings.pop("resume", False)
    cfg = toy_config(
        folder,
        train_cfg=settings.pop("train_cfg", {"by_epoch": True, "max_epochs": max_epochs}),
        default_hooks={"checkpoint": settings},
        val_evaluator={"type": "ScriptedMetric", **(metric or {"acc": [1, 3, 2, 5, 4, 0]})},
        resume=resume,
    )
    runner = Runner.from_cfg({**cfg, "custom_hooks": list(hooks)})
    runner.train()
    return runner


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("epoch_", "iter_", "best_")))


def test_every_third_one_for_good_and_the_last_two(tmp_path):
    train(tmp_path, 8, {"acc": [0] * 8}, keep_every=3, max_keep_ckpts=2)
    assert names(tmp_path) == ["epoch_3.pth", "epoch_6.pth", "epoch_7.pth", "epoch_8.pth"]


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_the_best_two_of_two_metrics(tmp_path, layout):
    metric = {"acc": [1, 3, 2, 5, 4, 0], "loss": [4, 9, 1, 2, 1, 8]}
    runner = train(tmp_path, 6, metric, save_best=["toy/acc", "toy/loss"], keep_best=2, max_keep_ckpts=1, layout=layout)
    end = ".pth" if layout == "file" else ""
    best = ["best_toy_acc_epoch_4", "best_toy_acc_epoch_5", "best_toy_loss_epoch_3", "best_toy_loss_epoch_5"]
    assert names(tmp_path) == [f"{name}{end}" for name in [*best, "epoch_6"]]
    hub = runner.message_hub
    assert (hub.get_info("best_score_toy/acc"), hub.get_info("best_score_toy/loss")) == (5, 1)
    assert hub.get_info("best_ckpt_toy/loss") == str(tmp_path / f"best_toy_loss_epoch_3{end}")


@pytest.mark.parametrize("settings", [{"keep_every": 3, "max_keep_ckpts": 2}, {"max_keep_ckpts": 1, "keep_best": 2}])
def test_the_same_files_after_a_resume(tmp_path, settings):
    values = [1, 3, 2, 5, 4, 0]
    train(tmp_path / "whole", 6, {"acc": values}, save_best="auto", **settings)
    for n_epochs, n_before in ((2, 0), (3, 2), (6, 3)):  # saved before its validation, which a resume makes again
        script = {"acc": values[max(n_before - 1, 0) :]}
        train(tmp_path / "parts", n_epochs, script, save_best="auto", resume=True, **settings)
    assert names(tmp_path / "parts") == names(tmp_path / "whole")


def test_a_damaged_one_is_not_counted(tmp_path, capsys):
    class Damages(Hook):
        def before_train_epoch(self, runner):
            if runner.epoch == 3:
                (tmp_path / "epoch_3.pth").write_bytes(b"spoilt")

    train(tmp_path, 4, hooks=[Damages()], max_keep_ckpts=2)
    assert names(tmp_path) == ["epoch_2.pth", "epoch_3.pth", "epoch_4.pth"]
    assert "a checkpoint does not verify and is not counted" in capsys.readouterr().err
    assert CheckpointManager(tmp_path).latest() == str(tmp_path / "epoch_4.pth")


def test_what_a_killed_run_had_to_delete_goes_when_it_is_resumed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointManager, "remove", lambda self, path, newest=None: None)
        train(tmp_path, 3, max_keep_ckpts=1)
    assert names(tmp_path) == ["epoch_1.pth", "epoch_2.pth", "epoch_3.pth"]
    train(tmp_path, 3, max_keep_ckpts=1, resume=True)
    assert "epoch_2.pth" not in names(tmp_path)
    assert "epoch_3.pth" in names(tmp_path)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"interval": "2 ep"}, ["epoch_2.pth", "epoch_4.pth", "epoch_6.pth"]),
        ({"interval": "10 it"}, ["iter_10.pth", "iter_20.pth", "iter_24.pth"]),
        ({"interval": "1 h"}, ["epoch_6.pth"]),
        ({"interval": -1, "save_every_s": 3600, "save_last": False}, []),
    ],
)
def test_intervals_with_a_unit(tmp_path, settings, expected):
    train(tmp_path, **settings)
    assert names(tmp_path) == expected


class Clock:
    """Each iteration takes ten seconds."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(save_timer, "perf_counter", lambda: self.now)

    def hook(self):
        clock = self

        class Ticks(Hook):
            priority = "HIGHEST"

            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                clock.now += 10

        return Ticks()


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_saved_by_time(tmp_path, monkeypatch, layout):
    settings = {"interval": "60 s", "save_last": False, "layout": layout}
    train(tmp_path, hooks=[Clock(monkeypatch).hook()], **settings)
    end = ".pth" if layout == "file" else ""
    assert names(tmp_path) == sorted(f"iter_{n}{end}" for n in (6, 12, 18, 24))


def test_time_begins_anew_with_every_regular_save(tmp_path, monkeypatch):
    train(tmp_path, 3, hooks=[Clock(monkeypatch).hook()], save_every_s="30 s", save_last=False)
    # Four iterations an epoch: by time after the third one, and the epoch's own after the fourth.
    assert names(tmp_path) == sorted([f"epoch_{n}.pth" for n in (1, 2, 3)] + [f"iter_{n}.pth" for n in (3, 7, 11)])


def test_time_waits_for_the_end_of_an_accumulation_window(tmp_path, monkeypatch):
    hook = {"type": "CheckpointHook", "interval": "40 s", "save_last": False}
    cfg = toy_config(
        tmp_path,
        train_cfg={"by_epoch": True, "max_epochs": 3},
        default_hooks={"checkpoint": hook},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "accumulative_counts": 3},
    )
    Runner.from_cfg({**cfg, "custom_hooks": [Clock(monkeypatch).hook()]}).train()
    assert names(tmp_path) == sorted(f"iter_{n}.pth" for n in (6, 12))


def test_auto_takes_the_layout_of_the_strategy(tmp_path):
    runner = train(tmp_path, 1)
    hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
    assert hook.layout == "file"
    runner.strategy.layout = "folder"
    hook.before_run(runner)
    assert hook.layout == "folder"


@pytest.mark.parametrize("layout", ["file", "folder"])
def test_resumed_in_the_other_layout(tmp_path, layout):
    other = {"file": "folder", "folder": "file"}[layout]
    train(tmp_path, 2, layout=layout)
    runner = train(tmp_path, 3, layout=other, resume=True)
    assert runner.iter == 12
    assert len(runner.message_hub.get_scalar("train/loss")) == 12
