"""What the logger hooks of MMCV 1.x write, to files and to the packages of trackers (mocks of them)."""

import json
import logging
import os
import re
from pathlib import Path
from unittest.mock import MagicMock, Mock, call, patch

import pytest
import torch
from mmcv1_suite import Steps, bare_runner, demo_runner, ones, packages
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Reports(Steps):
    """A model with log_vars."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.conv = nn.Conv2d(3, 3, 3)
        self.steps = 0

    def forward(self, x):
        return self.linear(x)

    def train_step(self, data, optimizer, **kwargs):
        self.steps += 1
        return {"loss": self(data).sum(), "log_vars": {"loss": float(self.steps), "text": 1}, "num_samples": len(data)}

    def val_step(self, data, optimizer=None, **kwargs):
        return {"log_vars": {"acc": 0.5}, "num_samples": 2}


def tags(several=False, prefix="", **values):
    """What is logged beside the values of the buffer."""
    rates = (
        {
            "learning_rate/first": 0.02,
            "learning_rate/second": 0.01,
            "momentum/first": 0.95,
            "momentum/second": 0.9,
        }
        if several
        else {"learning_rate": 0.02, "momentum": 0.95}
    )
    return {**values, **rates}


def run(runner, *flows):
    runner.run([ones() for _ in flows], list(flows))


TRAIN_AND_VAL = (("train", 1), ("val", 1))


# --- text


def test_the_text_log(mmcv, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    runner = bare_runner(tmp_path, max_epochs=2, model=Reports())
    runner.meta = {"exp_name": "mine", "seed": 4}
    runner.register_timer_hook({"type": "IterTimerHook"})
    runner.register_logger_hooks({"interval": 2, "hooks": [{"type": "TextLoggerHook", "ignore_last": False}]})
    runner.run([ones(), ones(2)], list(TRAIN_AND_VAL))
    lines = [json.loads(line) for line in (tmp_path / f"{runner.timestamp}.log.json").read_text().splitlines()]
    assert lines[0] == {"exp_name": "mine", "seed": 4}
    train = [line for line in lines if line.get("mode") == "train"]
    assert [(line["epoch"], line["iter"], line["loss"]) for line in train] == [
        (1, 2, 1.5),
        (1, 4, 3.5),
        (1, 5, 4.5),
        (2, 2, 6.5),
        (2, 4, 8.5),
        (2, 5, 9.5),
    ]
    assert list(train[0])[:4] == ["mode", "epoch", "iter", "lr"]
    assert {"data_time", "time"} <= set(train[0])
    val = [line for line in lines if line.get("mode") == "val"]
    assert [(line["epoch"], line["iter"], line["acc"]) for line in val] == [(1, 2, 0.5), (2, 2, 0.5)]
    text = caplog.messages
    assert any(
        re.match(r"Epoch \[1\]\[2/5\]\tlr: 2\.000e-02, eta: 0:00:0\d, time: 0\.\d{3}, data_time: ", line)
        for line in text
    )
    assert any(line.startswith("Epoch(val) [1][2]\tacc: 0.5000") for line in text)
    assert "Exp name: mine" in text
    assert any(line.endswith(runner.get_hook_info()) for line in text)
    assert any("[('train', 1), ('val', 1)]" in line for line in text)


def test_the_text_log_of_iterations_and_several_optimizers(mmcv, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    runner = bare_runner(tmp_path, "IterBasedRunner", max_epochs=None, max_iters=4, several=True, model=Reports())
    runner.register_timer_hook({"type": "IterTimerHook"})
    runner.register_logger_hooks({"interval": 2, "hooks": [{"type": "TextLoggerHook", "by_epoch": False}]})
    runner.run([ones()], [("train", 4)])
    lines = [json.loads(line) for line in (tmp_path / f"{runner.timestamp}.log.json").read_text().splitlines()]
    assert [(line["mode"], line["iter"], line["lr"]) for line in lines] == [
        ("train", 2, {"first": 0.02, "second": 0.01}),
        ("train", 4, {"first": 0.02, "second": 0.01}),
    ]
    assert any(
        re.match(r"Iter \[2/4\]\tlr_first: 2\.000e-02 lr_second: 1\.000e-02, eta: ", line) for line in caplog.messages
    )


def test_text_logs_are_copied(mmcv, tmp_path):
    hook = mmcv.runner.TextLoggerHook
    for keep in (True, False):
        runner = bare_runner(tmp_path / f"work_{keep}", model=Reports())
        runner.meta = {"note": "one line"}
        runner.register_hook(hook(out_dir=str(tmp_path / "out"), keep_local=keep, interval=1))
        runner.run([ones(1)], [("train", 1)])
        name = f"{runner.timestamp}.log.json"
        assert (tmp_path / "out" / f"work_{keep}" / name).is_file()
        assert (tmp_path / f"work_{keep}" / name).exists() == keep
    with pytest.raises(ValueError, match="file_client_args"):
        hook(file_client_args={"backend": "disk"})
    with pytest.raises(TypeError):
        hook(out_dir=1)


def test_what_is_a_scalar(mmcv):
    import numpy as np

    is_scalar = mmcv.runner.LoggerHook.is_scalar
    assert is_scalar(1)
    assert is_scalar(1.5)
    assert is_scalar(np.array(2))
    assert not is_scalar(np.array(2), include_np=False)
    assert is_scalar(torch.ones(1))
    assert not is_scalar(torch.ones(1), include_torch=False)
    assert not is_scalar(torch.ones(2))
    assert not is_scalar("text")


def test_modes_and_numbers_of_a_line(mmcv):
    hook = mmcv.runner.LoggerHook(by_epoch=True)
    runner = Mock(mode="train", epoch=1, iter=7, inner_iter=2)
    runner.log_buffer.output = {}
    assert hook.get_mode(runner) == "val"  # nothing was timed: it is an evaluation inside of training
    runner.log_buffer.output = {"time": 1}
    assert hook.get_mode(runner) == "train"
    assert (hook.get_epoch(runner), hook.get_iter(runner), hook.get_iter(runner, inner_iter=True)) == (2, 8, 3)
    runner.mode = "val"
    assert (hook.get_mode(runner), hook.get_epoch(runner)) == ("val", 1)
    runner.mode = "other"
    for ask in (hook.get_mode, hook.get_epoch):
        with pytest.raises(ValueError, match="train"):
            ask(runner)


# --- trackers


@pytest.mark.parametrize("several", [False, True])
def test_tensorboard(mmcv, tmp_path, several):
    runner = bare_runner(tmp_path, several=several)
    hook = mmcv.runner.TensorboardLoggerHook(interval=1)
    runner.register_hook(hook)
    with packages("torch.utils.tensorboard") as (tensorboard,):
        run(runner, *TRAIN_AND_VAL)
    tensorboard.SummaryWriter.assert_called_once_with(os.path.join(runner.work_dir, "tf_logs"))
    expected = [call(tag, value, 6) for tag, value in tags(several).items()]
    hook.writer.add_scalar.assert_has_calls(expected, any_order=True)
    hook.writer.close.assert_called_once_with()


@pytest.mark.parametrize("log_model", [True, False])
@pytest.mark.parametrize("several", [False, True])
def test_mlflow(mmcv, tmp_path, log_model, several):
    from mmcv.utils import TORCH_VERSION

    with packages("mlflow", "mlflow.pytorch"):
        runner = demo_runner(tmp_path, several=several)
        hook = mmcv.runner.MlflowLoggerHook(exp_name="test", tags={"a": 1}, params={"b": 2}, log_model=log_model)
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.mlflow.set_experiment.assert_called_with("test")
    hook.mlflow.set_tags.assert_called_with({"a": 1})
    hook.mlflow.log_params.assert_called_with({"b": 2})
    hook.mlflow.log_metrics.assert_called_with(tags(several), step=6)
    if log_model:
        hook.mlflow_pytorch.log_model.assert_called_with(
            runner.model, "models", pip_requirements=[f"torch=={TORCH_VERSION}"]
        )
    else:
        assert not hook.mlflow_pytorch.log_model.called


@pytest.mark.parametrize("several", [False, True])
def test_wandb(mmcv, tmp_path, several):
    with packages("wandb"):
        runner = demo_runner(tmp_path, several=several)
        hook = mmcv.runner.WandbLoggerHook(define_metric_cfg={"val/loss": "min"}, init_kwargs={"project": "mine"})
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.wandb.init.assert_called_with(project="mine")
    hook.wandb.define_metric.assert_called_with("val/loss", summary="min")
    hook.wandb.log.assert_called_with(tags(several), step=6, commit=True)
    hook.wandb.Artifact.assert_called_with(name="artifacts", type="model")
    files = [c.args[0] for c in hook.wandb.Artifact.return_value.add_file.call_args_list]
    assert [os.path.basename(path) for path in files] == [f"{runner.timestamp}.log.json"]
    hook.wandb.log_artifact.assert_called_once()
    hook.wandb.join.assert_called_with()


def test_wandb_without_extras(mmcv, tmp_path):
    with packages("wandb"):
        runner = bare_runner(tmp_path)
        hook = mmcv.runner.WandbLoggerHook(with_step=False, commit=False, log_artifact=False)
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.wandb.init.assert_called_with()
    hook.wandb.log.assert_called_with({**tags(), "global_step": 6}, commit=False)
    assert not hook.wandb.log_artifact.called
    hook.wandb.join.assert_called_with()
    with packages("wandb"):
        runner = bare_runner(tmp_path)
        runner.register_hook(mmcv.runner.WandbLoggerHook(define_metric_cfg={"val/loss": "nonsense"}))
        with pytest.warns(UserWarning, match="nonsense"):
            runner.call_hook("before_run")


def test_neptune(mmcv, tmp_path):
    with packages("neptune", "neptune.new"):
        runner = demo_runner(tmp_path)
        hook = mmcv.runner.NeptuneLoggerHook(init_kwargs={"project": "mine"})
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.neptune.init.assert_called_with(project="mine")
    hook.run["momentum"].log.assert_called_with(0.95, step=6)
    hook.run.stop.assert_called_with()


def test_dvclive(mmcv, tmp_path):
    with packages("dvclive"):
        runner = bare_runner(tmp_path)
        hook = mmcv.runner.DvcliveLoggerHook(model_file=str(tmp_path / "model.pth"))
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.dvclive.set_step.assert_called_with(1)
    hook.dvclive.log.assert_called_with("momentum", 0.95)
    assert (tmp_path / "model.pth").is_file()
    with packages("dvclive") as (dvclive,):
        own = Mock()
        assert mmcv.runner.DvcliveLoggerHook(dvclive=own).dvclive is own
        mmcv.runner.DvcliveLoggerHook(path="logs")
        dvclive.Live.assert_called_once_with(path="logs")


def test_segmind(mmcv, tmp_path):
    names = ("segmind", "segmind.tracking.fluent", "segmind.utils.logging_utils")
    with packages(*names):
        runner = bare_runner(tmp_path)
        hook = mmcv.runner.SegmindLoggerHook()
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.mlflow_log.assert_called_with(hook.log_metrics, tags(), step=runner.epoch, epoch=runner.epoch)


def test_clearml(mmcv, tmp_path):
    with packages("clearml"):
        runner = demo_runner(tmp_path)
        hook = mmcv.runner.ClearMLLoggerHook(init_kwargs={"project_name": "mine", "task_name": "first"})
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    hook.clearml.Task.init.assert_called_with(project_name="mine", task_name="first")
    hook.task.get_logger.assert_called_with()
    hook.task_logger.report_scalar.assert_has_calls(
        [call("momentum", "momentum", 0.95, 6), call("learning_rate", "learning_rate", 0.02, 6)], any_order=True
    )


# --- PAVI


def test_pavi(mmcv, tmp_path):
    with packages("pavi") as (pavi,):
        runner = demo_runner(tmp_path / "work")
        runner.meta = {"config_dict": {"lr": 0.02, "gpu_ids": range(1)}}
        hook = mmcv.runner.PaviLoggerHook(add_graph_kwargs=None, add_last_ckpt=True)
        runner.register_hook(hook)
        run(runner, *TRAIN_AND_VAL)
    settings = pavi.SummaryWriter.call_args.kwargs
    assert (settings["name"], settings["model"]) == ("work", "TwoParts")
    assert "lr: 0.02" in settings["session_text"]
    assert "max_iter: 5" in settings["session_text"]
    hook.writer.add_scalars.assert_called_with("val", tags(), 1)
    hook.writer.add_snapshot_file.assert_called_with(
        tag="work", snapshot_file_path=os.path.join(runner.work_dir, "epoch_1.pth"), iteration=1
    )
    hook.writer.close.assert_called_with()


def test_pavi_by_iterations(mmcv, tmp_path):
    with packages("pavi"):
        runner = bare_runner(tmp_path / "work", "IterBasedRunner", max_epochs=None, max_iters=5)
        runner.register_checkpoint_hook({"interval": 1, "by_epoch": False})
        hook = mmcv.runner.PaviLoggerHook(by_epoch=False, add_last_ckpt=True)
        runner.register_hook(hook)
        runner.run([ones(), ones()], [("train", 1), ("val", 1)])
    runner_checkpoint = os.path.join(runner.work_dir, "iter_5.pth")
    hook.writer.add_snapshot_file.assert_called_with(tag="work", snapshot_file_path=runner_checkpoint, iteration=5)


def test_pavi_uploads_by_intervals(mmcv, tmp_path):
    with packages("pavi"):
        runner = demo_runner(tmp_path / "work", max_epochs=4)
        hook = mmcv.runner.PaviLoggerHook(add_ckpt_kwargs={"active": True, "start": 2, "interval": 2})
        runner.register_hook(hook)
        runner.run([ones(1)], [("train", 1)])
    assert [c.kwargs["iteration"] for c in hook.writer.add_snapshot_file.call_args_list] == [2, 4]


def test_pavi_names_what_is_deprecated(mmcv):
    with pytest.warns(DeprecationWarning, match="add_graph"):
        hook = mmcv.runner.PaviLoggerHook(add_graph=True)
    assert hook.add_graph
    with pytest.warns(DeprecationWarning, match="img_key"):
        assert mmcv.runner.PaviLoggerHook(img_key="image").img_key == "image"


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("lr", "momentum", "at"),
    [
        (
            {
                "type": "CosineAnnealingLrUpdaterHook",
                "by_epoch": False,
                "min_lr_ratio": 0,
                "warmup_iters": 2,
                "warmup_ratio": 0.9,
            },
            {
                "type": "CosineAnnealingMomentumUpdaterHook",
                "min_momentum_ratio": 0.99 / 0.95,
                "by_epoch": False,
                "warmup_iters": 2,
                "warmup_ratio": 0.9 / 0.95,
            },
            {1: (1, 1), 6: (0.5, (1 + 0.99 / 0.95) / 2)},
        ),
        (
            {
                "type": "LinearAnnealingLrUpdaterHook",
                "by_epoch": False,
                "min_lr_ratio": 0,
                "warmup_iters": 2,
                "warmup_ratio": 0.9,
            },
            {"type": "LinearAnnealingMomentumUpdaterHook", "min_momentum_ratio": 0.99 / 0.95, "by_epoch": False},
            {1: (1, 1), 6: (0.5, (1 + 0.99 / 0.95) / 2)},
        ),
        (
            {
                "type": "CyclicLrUpdaterHook",
                "by_epoch": False,
                "target_ratio": (10, 1),
                "cyclic_times": 1,
                "step_ratio_up": 0.4,
            },
            {
                "type": "CyclicMomentumUpdaterHook",
                "by_epoch": False,
                "target_ratio": (0.85 / 0.95, 1),
                "cyclic_times": 1,
                "step_ratio_up": 0.4,
            },
            {1: (1, 1), 5: (10, 0.85 / 0.95)},
        ),
        (
            {"type": "OneCycleLrUpdaterHook", "max_lr": 0.1, "total_steps": 10, "pct_start": 0.4, "div_factor": 25},
            {"type": "OneCycleMomentumUpdaterHook", "base_momentum": 0.85, "max_momentum": 0.95, "pct_start": 0.4},
            {1: (0.1 / 25 / 0.02, 0.95 / 0.95)},
        ),
    ],
    ids=["cosine", "linear", "cyclic", "onecycle"],
)
def test_curves_as_a_tracker_sees_them(mmcv, tmp_path, several, lr, momentum, at):
    """Ten iterations in a row of one sample, logged every time; ratios to the values at the start."""
    with packages("pavi"):
        runner = bare_runner(tmp_path, several=several)
        if several and "OneCycle" in lr["type"]:
            lr = {**lr, "max_lr": {"first": [0.1], "second": [0.05]}}
        runner.register_hook_from_cfg(lr)
        runner.register_hook_from_cfg(momentum)
        runner.register_hook_from_cfg({"type": "IterTimerHook"})
        hook = mmcv.runner.PaviLoggerHook(interval=1)
        runner.register_hook(hook)
        runner.run([ones(10)], [("train", 1)])
    logged = {c.args[2]: c.args[1] for c in hook.writer.add_scalars.call_args_list}
    assert sorted(logged) == list(range(1, 11))
    for step, (lr_ratio, momentum_ratio) in at.items():
        if several:
            found, starts = [logged[step][f"{what}/second"] for what in ("learning_rate", "momentum")], (0.01, 0.9)
        else:
            found, starts = [logged[step][what] for what in ("learning_rate", "momentum")], (0.02, 0.95)
        if "OneCycle" in lr["type"] and several:
            lr_ratio, momentum_ratio = 0.05 / 25 / 0.01, 0.95 / 0.9
        assert found == pytest.approx([starts[0] * lr_ratio, starts[1] * momentum_ratio])


def test_hooks_that_need_a_package_say_so(mmcv, tmp_path):
    missing = dict.fromkeys(("wandb", "mlflow", "neptune", "neptune.new", "dvclive", "segmind", "clearml", "pavi"))
    with patch.dict("sys.modules", missing):
        for name in ("Wandb", "Mlflow", "Neptune", "Dvclive", "Segmind", "ClearML"):
            with pytest.raises(ImportError, match="install"):
                getattr(mmcv.runner, f"{name}LoggerHook")()
        runner = bare_runner(tmp_path)
        with pytest.raises(ImportError, match="pavi"):
            mmcv.runner.PaviLoggerHook().before_run(runner)


class Images(Dataset):
    def __getitem__(self, index):
        return {"img": torch.ones(1)}

    def __len__(self):
        return 1


def test_pavi_draws_the_graph(mmcv, tmp_path):
    class Model(Steps):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 1)
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, img, return_loss=True):
            return self.linear(img if torch.is_tensor(img) else img["img"])

        def train_step(self, data, optimizer, **kwargs):
            return {"loss": self(data)}

    scattered = MagicMock(return_value=[{"img": torch.ones(1, 1)}])
    with packages("pavi"), patch("mmcv.runner.hooks.logger.pavi.scatter", scattered):
        runner = bare_runner(tmp_path / "work", model=Model())
        hook = mmcv.runner.PaviLoggerHook(
            add_graph_kwargs={"active": True, "start": 1, "dummy_forward_kwargs": {"return_loss": False}}
        )
        runner.register_hook(hook)
        runner.run([DataLoader(Images())], [("train", 1)])
    (model, image), settings = hook.writer.add_graph.call_args
    assert model is runner.model
    assert torch.equal(image, torch.ones(1, 1))
    assert settings == {"tag": "work_1", "opset_version": 11}
    assert Path(runner.work_dir).is_dir()
