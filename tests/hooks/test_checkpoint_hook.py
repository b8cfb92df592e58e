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
        ({"interval": 2, "save_begin": 2}, [2, 4, 5]),
        ({"interval": 2, "save_begin": 3}, [3, 5]),
        ({"interval": 2, "save_begin": 4, "save_last": False}, [4]),
        ({"interval": 1, "save_begin": 3}, [3, 4, 5]),
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
        ({"interval": 3, "save_begin": 4}, [4, 7, 10], [4, 7, 8]),
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


@pytest.mark.parametrize("backend", [{}, {"backend_args": {"backend": "local"}}, {"backend_args": None}])
def test_another_folder(tmp_path, backend):
    run(tmp_path / "run", out_dir=str(tmp_path / "out"), interval=4, **backend)
    assert files(tmp_path / "out" / "run") == ["epoch_4.pth", "epoch_5.pth"]
    assert files(tmp_path / "run") == []
    assert (tmp_path / "run" / "last_checkpoint").read_text() == str(tmp_path / "out" / "run" / "epoch_5.pth")
    again = toy_config(tmp_path / "run", resume=True, train_cfg={"by_epoch": True, "max_epochs": 6})
    runner = Runner.from_cfg(again)
    runner.train()
    assert len(runner.message_hub.get_scalar("train/loss")) == 24


def test_the_old_name_of_backend_args_is_warned_of(capsys):
    CheckpointHook(file_client_args={"backend": "disk"})
    assert "file_client_args is an old name of backend_args" in capsys.readouterr().err


@pytest.mark.parametrize("wished", [".", "run", "run/"])
def test_out_dir_that_is_the_work_dir(tmp_path, monkeypatch, wished):
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "run", out_dir=wished, interval=5)
    assert files(tmp_path / "run") == ["epoch_5.pth"]


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
        ({"save_best": ["acc", "loss"], "rule": ["less"] * 3}, ConfigError, "2 metrics in save_best and 3 in rule"),
        ({"save_best": ["acc", "acc"]}, ConfigError, "save_best names 'acc' more than once"),
        ({"published_keys": 3}, ConfigTypeError, "published_keys must be a name or a list of them: 3"),
        ({"published_keys": ["meta", "meta"]}, ConfigError, "published_keys names 'meta' more than once"),
        ({"filename_tmpl": "last.pth"}, ConfigError, "must have one {} for the number, but is 'last.pth'"),
        ({"filename_tmpl": "{}_{}"}, ConfigError, "must have one {} for the number, but is '{}_{}'"),
        ({"filename_tmpl": "a/{}.pth"}, ConfigError, "without a folder, but is 'a/{}.pth': the folder is out_dir"),
        ({"out_dir": "nosuch://bucket/runs"}, ConfigError, "cannot use out_dir='nosuch://bucket/runs'.*not known"),
        ({"backend_args": {"backend": "petrel"}}, ConfigError, "got backend_args={'backend': 'petrel'}.*by its URL"),
        ({"backend_args": {"path_mapping": {}}}, ConfigError, "got backend_args={'path_mapping': {}}"),
        ({"file_client_args": {"backend": "ceph"}}, ConfigError, "got file_client_args={'backend': 'ceph'}"),
        (
            {"out_dir": "memory://a", "backend_args": {"backend": "ceph"}},
            ConfigError,
            "got backend_args=.*fsspec class",
        ),
        ({"layout": "zip"}, ConfigError, "layout must be one of auto, file, folder, but is 'zip'"),
        ({"keep_every": 0}, ConfigError, "keep_every must be at least 1, but got 0"),
        ({"keep_best": 1.5}, ConfigTypeError, "keep_best must be a whole number, but got 1.5"),
        ({"max_save_failures": 0}, ConfigError, "max_save_failures must be at least 1, but got 0"),
        ({"interval": "30 lm"}, ConfigError, "CheckpointHook interval.*There is no unit 'lm'"),
        ({"interval": "3M tok"}, ConfigError, "interval='3M tok' must be in iterations, epochs or time"),
        ({"interval": "1 h", "save_every_s": 9}, ConfigError, "and save_every_s gives the time already"),
        ({"save_every_s": -1}, ConfigError, "CheckpointHook save_every_s must be a number of seconds above 0"),
        ({"backend_args": {}, "file_client_args": {}}, ConfigError, "at the same time: keep backend_args"),
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


def test_one_rule_for_all_metrics():
    hook = CheckpointHook(save_best=["acc", "odd"], rule=["less"])
    assert [(best.metric, best.rule) for best in hook.bests] == [("acc", "less"), ("odd", "less")]
    assert (hook.save_best, hook.key_indicators, hook.rules) == (["acc", "odd"], ["acc", "odd"], ["less", "less"])


def test_keys_may_be_one_name_and_come_from_a_subclass():
    class Mine(CheckpointHook):
        _default_less_keys = ("odd",)

    assert Mine(save_best="my/odd").bests[0].rule == "less"
    assert CheckpointHook(save_best="odd", greater_keys="odd").bests[0].rule == "greater"


@pytest.mark.parametrize(("rule", "best"), [(None, 2), ("less", 1)])
def test_the_rule_of_auto(tmp_path, rule, best):
    runner = run(tmp_path, {"acc": [1, 3, 2, 3, 2]}, interval=5, save_best="auto", rule=rule)
    assert files(tmp_path) == [f"best_toy_acc_epoch_{best}.pth", "epoch_5.pth"]
    hook = runner.hooks[-1]
    assert hook.best_ckpt_path == str(tmp_path / f"best_toy_acc_epoch_{best}.pth")
    assert (hook.max_keep_ckpts, hook.best_ckpt_path_dict) == (-1, {})


def test_paths_of_several_bests(tmp_path):
    hook = run(tmp_path, {"acc": [1] * 5, "loss": [1] * 5}, save_best=["toy/acc", "toy/loss"]).hooks[-1]
    names = {name: os.path.basename(path) for name, path in hook.best_ckpt_path_dict.items()}
    assert names == {"toy/acc": "best_toy_acc_epoch_1.pth", "toy/loss": "best_toy_loss_epoch_1.pth"}
    assert hook.best_ckpt_path is None


def test_a_metric_without_a_value_is_passed_over(tmp_path):
    run(tmp_path, {"acc": [1, None, 2, None, None]}, interval=-1, save_last=False, save_best="toy/acc")
    assert files(tmp_path) == ["best_toy_acc_epoch_3.pth"]


def test_no_metrics_at_all_are_warned_of(tmp_path, capsys):
    cfg = toy_config(tmp_path, val_evaluator={"type": "ScriptedMetric"})
    cfg["default_hooks"] = {"checkpoint": {"type": "CheckpointHook", "interval": 5, "save_best": "auto"}}
    Runner.from_cfg(cfg).train()
    assert capsys.readouterr().err.count("save_best has nothing to compare") == 1, "a warning is said once"
    assert files(tmp_path) == ["epoch_2.pth"]


@pytest.mark.parametrize("template", ["ckpt_{}", "{}", "a[1]_{:03d}", "run-{:08d}.pth", "{}.ckpt"])
@pytest.mark.parametrize("best", [None, "auto"])
def test_any_template_is_resumed_and_swept(tmp_path, template, best):
    leftover = tmp_path / f".tmp-{template.format(9)}-0123"
    leftover.write_bytes(b"half")
    (tmp_path / "2024").mkdir()
    run(tmp_path, {"acc": [1, 2, 3, 4, 5]}, interval=2, save_last=False, save_best=best, filename_tmpl=template)
    assert not leftover.exists()
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / template.format(4))
    cfg = toy_config(tmp_path, resume=True, train_cfg={"by_epoch": True, "max_epochs": 6})
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert len(runner.message_hub.get_scalar("train/loss")) == 24
