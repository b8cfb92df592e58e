"""Which checkpoints there are after a run."""

import os

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.engine import Hook
from trainwright.hooks import CheckpointHook
from trainwright.runner import Runner
from trainwright.testing.toys import toy_config


def files(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def run(folder, metric=None, train_cfg=None, **hook):
    cfg = toy_config(
        folder,
        train_cfg=train_cfg or {"by_epoch": True, "max_epochs": 5},
        default_hooks={"checkpoint": {"type": "CheckpointHook", **hook}},
        val_evaluator={"type": "ScriptedMetric", **(metric or {"acc": [1, 3, 2, 3, 4]})},
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def meta(path):
    return torch.load(path, weights_only=True)["meta"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"interval": 1}, [1, 2, 3, 4, 5]),
        ({"interval": 2}, [2, 4, 5]),
        ({"interval": 2, "save_last": False}, [2, 4]),
        ({"interval": -1}, [5]),
        ({"interval": -1, "save_last": False}, []),
        ({"interval": 2, "save_begin": 3}, [5]),
        ({"interval": 1, "save_begin": 3}, [4, 5]),
        ({"interval": 1, "max_keep_ckpts": 2}, [4, 5]),
        ({"interval": 2, "max_keep_ckpts": 1}, [5]),
    ],
)
def test_by_epoch(tmp_path, settings, expected):
    run(tmp_path, **settings)
    assert files(tmp_path) == [f"epoch_{n}.pth" for n in expected]
    if expected:
        path = tmp_path / f"epoch_{expected[-1]}.pth"
        assert (tmp_path / "last_checkpoint").read_text() == str(path)
        assert (meta(path)["epoch"], meta(path)["iter"], meta(path)["inner_iter"]) == (
            expected[-1],
            4 * expected[-1],
            0,
        )


@pytest.mark.parametrize(
    ("settings", "of_ten", "of_two_epochs"),
    [
        ({"interval": 3}, [3, 6, 9, 10], [3, 6, 8]),
        ({"interval": 3, "save_last": False}, [3, 6, 9], [3, 6]),
        ({"interval": 3, "save_begin": 4}, [7, 10], [7, 8]),
        ({"interval": 4, "max_keep_ckpts": 2}, [8, 10], [4, 8]),
        ({"interval": 5, "filename_tmpl": "step-{}.pth"}, [5, 10], [5, 8]),
    ],
)
@pytest.mark.parametrize("loop", ["by_epoch", "by_iter"])
def test_by_iteration(tmp_path, settings, of_ten, of_two_epochs, loop):
    expected, train_cfg = of_ten, {"by_epoch": False, "max_iters": 10, "val_interval": 5}
    if loop == "by_epoch":
        expected, train_cfg = of_two_epochs, {"by_epoch": True, "max_epochs": 2}
    run(tmp_path, train_cfg=train_cfg, by_epoch=False, **settings)
    name = settings.get("filename_tmpl", "iter_{}.pth")
    assert files(tmp_path) == sorted(name.format(n) for n in expected)
    assert meta(tmp_path / name.format(expected[-1]))["iter"] == expected[-1]


def test_best_by_name_rule_and_list(tmp_path):
    script = {"acc": [1, 3, 2, 3, 4], "loss": [5, 4, 3, 6, 7], "odd": [2, 1, 1, 0, 9]}
    metrics = ["toy/acc", "toy/loss", "toy/odd"]
    runner = run(tmp_path, script, interval=-1, save_last=False, save_best=metrics, rule=["greater", "less", "less"])
    assert files(tmp_path) == ["best_toy_acc_epoch_5.pth", "best_toy_loss_epoch_3.pth", "best_toy_odd_epoch_4.pth"]
    hub = runner.message_hub
    assert [hub.get_info(f"best_score_{name}") for name in metrics] == [4, 3, 0]
    assert hub.get_info("best_ckpt_toy/odd") == str(tmp_path / "best_toy_odd_epoch_4.pth")


def test_best_auto_takes_the_first_metric(tmp_path):
    runner = run(tmp_path, {"acc": [1, 3, 2, 3, 2], "loss": [5, 4, 3, 6, 7]}, interval=5, save_best="auto")
    assert files(tmp_path) == ["best_toy_acc_epoch_2.pth", "epoch_5.pth"]
    assert (runner.message_hub.get_info("best_score"), meta(tmp_path / "best_toy_acc_epoch_2.pth")["epoch"]) == (3, 2)


def test_best_without_the_hook_that_knows_the_stage(tmp_path):
    hooks = {"runtime_info": None, "checkpoint": {"type": "CheckpointHook", "save_best": "auto", "interval": 2}}
    Runner.from_cfg(toy_config(tmp_path, default_hooks=hooks)).train()
    assert len([name for name in files(tmp_path) if name.startswith("best_accuracy_top1_")]) == 1


def test_best_with_iterations(tmp_path):
    train_cfg = {"by_epoch": False, "max_iters": 9, "val_interval": 3}
    run(tmp_path, {"loss": [3, 1, 2]}, train_cfg, by_epoch=False, save_best="toy/loss", interval=100)
    assert files(tmp_path) == ["best_toy_loss_iter_6.pth", "iter_9.pth"]


def test_a_nan_is_never_the_best(tmp_path):
    run(tmp_path, {"acc": [float("nan"), 1, float("nan"), 0, 0]}, interval=-1, save_last=False, save_best="toy/acc")
    assert files(tmp_path) == ["best_toy_acc_epoch_2.pth"]


def test_a_validation_outside_training_saves_nothing(tmp_path):
    runner = run(tmp_path, {"acc": [1, 1, 1, 1, 1, 9]}, interval=-1, save_last=False, save_best="toy/acc")
    runner.val()
    assert files(tmp_path) == ["best_toy_acc_epoch_1.pth"]


def test_another_folder(tmp_path):
    run(tmp_path / "run", out_dir=str(tmp_path / "out"), interval=4)
    assert files(tmp_path / "out") == ["epoch_4.pth", "epoch_5.pth"]
    assert files(tmp_path / "run") == []
    assert (tmp_path / "run" / "last_checkpoint").read_text() == str(tmp_path / "out" / "epoch_5.pth")
    again = toy_config(tmp_path / "run", resume=True, train_cfg={"by_epoch": True, "max_epochs": 6})
    runner = Runner.from_cfg(again)
    runner.train()
    assert len(runner.message_hub.get_scalar("train/loss")) == 24


def test_without_optimizer_and_schedulers(tmp_path):
    run(tmp_path, save_optimizer=False, save_param_scheduler=False)
    assert not {"optimizer", "param_schedulers"} & torch.load(tmp_path / "epoch_5.pth", weights_only=True).keys()


def test_old_files_go_only_after_the_new_one_is_there(tmp_path):
    seen = []

    class Watch(Hook):
        def after_save_checkpoint(self, runner, path):
            seen.append(files(tmp_path))

    cfg = toy_config(
        tmp_path, default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 1}}
    )
    Runner.from_cfg({**cfg, "custom_hooks": [Watch()]}).train()
    assert seen == [["epoch_1.pth"], ["epoch_1.pth", "epoch_2.pth"]]
    assert files(tmp_path) == ["epoch_2.pth"]


def test_a_failed_save_leaves_the_kept_list_and_the_hint(tmp_path, monkeypatch):
    class Full(Hook):
        def before_save_checkpoint(self, runner, checkpoint):
            if runner.epoch == 1:
                checkpoint["mine"] = object()

    hook = CheckpointHook(interval=1, max_keep_ckpts=1)
    runner = Runner.from_cfg(toy_config(tmp_path, default_hooks={"checkpoint": hook}, custom_hooks=[Full()]))
    with pytest.raises(RuntimeError, match=r"epoch_2.pth' was not written: \['mine'\] is a builtins.object"):
        runner.train()
    assert files(tmp_path) == ["epoch_1.pth"]
    assert hook.retention.saved == [str(tmp_path / "epoch_1.pth")]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_1.pth")


def test_leftovers_of_a_killed_save_are_swept(tmp_path):
    leftover = tmp_path / ".tmp-epoch_9.pth-0123"
    leftover.write_bytes(b"half")
    run(tmp_path)
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"interval": 1.5}, ConfigTypeError, "interval must be a whole number, but got 1.5"),
        ({"save_begin": -1}, ConfigError, "save_begin must be at least 0, but got -1"),
        ({"max_keep_ckpts": 0}, ConfigError, "max_keep_ckpts=0 would keep nothing; use -1"),
        ({"save_best": 3}, ConfigTypeError, r"save_best must be a metric's name or a list of them: 3"),
        ({"save_best": ["auto", "acc"]}, ConfigError, "save_best='auto' stands for the first metric"),
        ({"save_best": "odd"}, ConfigError, "cannot tell from its name.*rule='greater' or rule='less'"),
        ({"save_best": "odd", "rule": "les"}, ConfigError, r"must be 'greater' or 'less', but got 'les'.*'less'"),
        ({"save_best": ["acc", "loss"], "rule": ["less"]}, ConfigError, "2 metrics in save_best and 1 in rule"),
    ],
)
def test_impossible_settings(settings, kind, text):
    with pytest.raises(kind, match=text):
        CheckpointHook(**settings)


def test_a_best_metric_that_does_not_come(tmp_path):
    with pytest.raises(
        ConfigError, match=r"save_best='toy/ac' is not among the metrics: toy/acc.*Did you mean 'toy/acc'"
    ):
        run(tmp_path, save_best="toy/ac", rule="greater")


def test_path_objects(tmp_path):
    hook = CheckpointHook(out_dir=tmp_path)
    assert hook._wished_out_dir == os.fspath(tmp_path)
