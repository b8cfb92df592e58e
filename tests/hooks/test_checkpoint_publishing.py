"""What is published after a training, under which name, and that nobody takes it for a checkpoint to resume."""

import hashlib
import re

import pytest
import torch

from trainwright.base.errors import CheckpointError, Interrupted
from trainwright.checkpoint import CheckpointManager, read_file
from trainwright.checkpoint.published import is_published
from trainwright.engine import Event
from trainwright.runner import Runner
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_config

LOOPS = {
    "epochs": {"by_epoch": True, "max_epochs": 3},
    "iterations": {"by_epoch": False, "max_iters": 9, "val_interval": 3},
}


def config(folder, loop="epochs", metric=None, **hook):
    by_epoch = loop == "epochs"
    hook = {"type": "CheckpointHook", "by_epoch": by_epoch, "interval": 1 if by_epoch else 3, **hook}
    return toy_config(
        folder,
        train_cfg=LOOPS[loop],
        default_hooks={"checkpoint": hook},
        val_evaluator={"type": "ScriptedMetric", **(metric or {"acc": [1, 3, 2]})},
        log_level="INFO",
    )


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def published(folder):
    return sorted(path for path in folder.glob("*.pth") if is_published(path.name))


@pytest.mark.parametrize(
    ("loop", "stems"),
    [("epochs", ["best_toy_acc_epoch_2", "epoch_3"]), ("iterations", ["best_toy_acc_iter_6", "iter_9"])],
)
def test_last_and_best_with_the_keys_only(tmp_path, capsys, loop, stems):
    train(config(tmp_path, loop, save_best="auto", max_keep_ckpts=1, published_keys=["meta", "state_dict"]))
    found = published(tmp_path)
    assert [path.name[:-13] for path in found] == stems
    for path, stem in zip(found, stems, strict=True):
        whole = read_file(tmp_path / f"{stem}.pth")
        copy = torch.load(path, weights_only=True)
        assert list(copy) == ["meta", "state_dict"]
        assert not differences(copy, {key: whole[key] for key in copy})
        assert path.stem[-8:] == hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    told = rf"{stems[1]}\.pth is published as .*{stems[1]}-[0-9a-f]{{8}}\.pth, without message_hub, "
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("settings", "stems"),
    [
        ({"save_last": False, "save_best": "auto"}, ["best_toy_acc_epoch_2"]),
        ({"save_best": ["toy/acc", "toy/loss"]}, ["best_toy_acc_epoch_2", "best_toy_loss_epoch_1", "epoch_3"]),
        ({}, ["epoch_3"]),
        ({"published_keys": None, "save_best": "auto"}, []),
    ],
)
def test_which_files(tmp_path, settings, stems):
    metric = {"acc": [1, 3, 2], "loss": [1, 3, 2]}
    train(config(tmp_path, metric=metric, **{"published_keys": "state_dict", **settings}))
    assert [path.name[:-13] for path in published(tmp_path)] == stems


def test_without_anything_to_publish(tmp_path, capsys):
    train(config(tmp_path, published_keys="state_dict", save_last=False))
    assert "published_keys has no effect without save_last=True or save_best" in capsys.readouterr().err
    assert published(tmp_path) == []


def test_a_key_that_is_not_there_is_told(tmp_path, capsys):
    train(config(tmp_path, published_keys=["meta", "optimiser"]))
    assert "published_keys has 'optimiser', which" in (text := capsys.readouterr().err)
    assert "Did you mean 'optimizer'" in text
    assert [list(read_file(path)) for path in published(tmp_path)] == [["meta"]]


def test_no_key_at_all_is_an_error(tmp_path):
    with pytest.raises(
        CheckpointError, match="nothing of the checkpoint .*it has the keys meta, .*asked for are wrong"
    ):
        train(config(tmp_path, published_keys=["wrong"]))
    assert not list(tmp_path.glob(".tmp-*"))


def test_a_best_that_somebody_deleted(tmp_path, capsys):
    class Delete(StopAt):
        def after_val(self, runner):
            (tmp_path / "best_toy_acc_epoch_2.pth").unlink(missing_ok=True)

    cfg = config(tmp_path, save_best="auto", published_keys="state_dict")
    train({**cfg, "custom_hooks": [Delete(Event.AFTER_RUN, 0)]})
    assert "best_toy_acc_epoch_2.pth is not published: it is gone" in capsys.readouterr().err
    assert [path.name[:-13] for path in published(tmp_path)] == ["epoch_3"]


def test_an_interrupted_training_publishes_when_it_ends(tmp_path):
    cfg = config(tmp_path, metric={"acc": [1, 3, 2]}, published_keys=["meta", "state_dict"], save_best="auto")
    with pytest.raises(Interrupted):
        train({**cfg, "custom_hooks": [StopAt(Event.AFTER_TRAIN_ITER, 6)]})
    assert published(tmp_path) == []
    train({**cfg, "resume": True})
    assert {path.name[:-13] for path in published(tmp_path)} >= {"epoch_3"}


def test_published_files_are_not_resumed_and_not_reported(tmp_path, capsys):
    cfg = config(tmp_path, published_keys=["meta", "state_dict"])
    train(cfg)
    (copy,) = published(tmp_path)
    newest = CheckpointManager(tmp_path)
    assert copy.name not in [path.rpartition("/")[-1] for path in newest.candidates()]
    (tmp_path / "epoch_3.pth").unlink()
    assert newest.latest() == str(tmp_path / "epoch_2.pth")
    train(config(tmp_path, published_keys="state_dict"))
    capsys.readouterr()
    train({**cfg, "resume": True, "train_cfg": {"by_epoch": True, "max_epochs": 3}})
    assert "skipped a checkpoint" not in capsys.readouterr().err


def test_a_run_resumed_from_elsewhere_publishes_nothing_there(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    train(config(first, save_best="auto"))
    cfg = config(second, metric={"acc": [0, 0, 0]}, save_best="auto", published_keys="state_dict")
    train({**cfg, "load_from": str(first / "epoch_2.pth"), "resume": True})
    assert published(first) == []
    assert [path.name[:-13] for path in published(second)] == ["epoch_3"]


def test_the_average_is_what_is_published(tmp_path):
    cfg = config(tmp_path, save_best="auto", published_keys="state_dict")
    runner = train({**cfg, "custom_hooks": [{"type": "EMAHook", "momentum": 0.1}]})
    best, last = published(tmp_path)
    average = runner.hooks[[type(hook).__name__ for hook in runner.hooks].index("EMAHook")].ema_model.module
    weights = read_file(last)["state_dict"]
    assert not differences(dict(weights), dict(average.state_dict()))
    assert differences(dict(weights), dict(runner.model.state_dict()))
    assert not differences(
        read_file(best)["state_dict"], read_file(tmp_path / "best_toy_acc_epoch_2.pth")["state_dict"]
    )
