"""The log line, the scalars, and how rarely the host waits for the device."""

import json
import re
from pathlib import Path

import pytest

from trainwright.base.errors import ConfigError
from trainwright.runner import LogProcessor, Runner
from trainwright.testing.host_reads import HostReads, count_host_reads
from trainwright.testing.recorder import Hook
from trainwright.testing.toys import ToyModel, toy_config, toy_loader

NUMBER = r"\d+\.\d{4}"


def log_lines(runner):
    """Messages of the log file, without the time stamps."""
    text = (Path(runner.log_dir) / f"{runner.timestamp}.log").read_text()
    return [line.split(" - INFO - ", 1)[1] for line in text.splitlines() if " - INFO - " in line]


def scalars(runner):
    text = (Path(runner.log_dir) / "vis_data" / "scalars.json").read_text()
    return [json.loads(line) for line in text.splitlines()]


def trained(tmp_path, interval=2, **changes):
    hooks = {"logger": {"type": "LoggerHook", "interval": interval, **changes.pop("logger", {})}}
    runner = Runner.from_cfg(toy_config(tmp_path, log_level="INFO", default_hooks=hooks, **changes))
    runner.train()
    return runner


def test_lines_by_epoch(tmp_path):
    runner = trained(tmp_path, model={"type": "ToyModel", "n_terms": 2})
    lines = log_lines(runner)
    train = [line for line in lines if line.startswith("Epoch(train)")]
    assert [line.split("  ")[0] for line in train] == [f"Epoch(train) [{e}][{n}/4]" for e in (1, 2) for n in (2, 4)]
    pattern = (
        rf"Epoch\(train\) \[1\]\[2/4\]  lr: 1.0000e-01  eta: 0:00:\d\d  time: {NUMBER}  data_time: {NUMBER}  "
        rf"memory: \d+  loss: {NUMBER}  loss_ce: {NUMBER}  loss_size: {NUMBER}"
    )
    assert re.fullmatch(pattern, train[0]), train[0]
    val = [line for line in lines if line.startswith("Epoch(val)")]
    assert re.fullmatch(
        rf"Epoch\(val\) \[1\]\[2/2\]    eta: 0:00:00  time: {NUMBER}  data_time: {NUMBER}  memory: \d+  ", val[0]
    )
    assert val[2].startswith("Epoch(val) [2][2/2]    eta")
    assert "accuracy" not in val[2], "the metrics of the last validation have no place in a progress line of this one"
    end = rf"Epoch\(val\) \[2\]\[2/2\]    accuracy/top1: {NUMBER}  data_time: {NUMBER}  time: {NUMBER}"
    assert re.fullmatch(end, val[3]), val[3]


def test_lines_by_iteration(tmp_path):
    runner = trained(tmp_path, interval=5, train_cfg={"by_epoch": False, "max_iters": 12, "val_interval": 6})
    lines = log_lines(runner)
    train = [line for line in lines if line.startswith("Iter(train)")]
    assert [line.split("  ", 1)[0] for line in train] == ["Iter(train) [ 5/12]", "Iter(train) [10/12]"]
    assert any(re.fullmatch(rf"Iter\(val\) \[2/2\]    accuracy/top1: {NUMBER}  .*", line) for line in lines)


def test_scalars(tmp_path):
    rows = scalars(trained(tmp_path))
    assert [row["step"] for row in rows] == [2, 4, 1, 6, 8, 2]
    train, val = rows[0], rows[2]
    assert train.keys() == {"lr", "time", "data_time", "loss", "epoch", "iter", "memory", "step"}
    assert (train["epoch"], train["iter"], train["lr"]) == (1, 2, 0.1)
    assert val.keys() == {"accuracy/top1", "time", "data_time", "iter", "step"}
    assert val["iter"] == 4


def test_logged_loss_is_the_mean_over_the_window(tmp_path):
    losses = []

    class Watch(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append(outputs["loss"].item())

    runner = trained(tmp_path, interval=4, custom_hooks=[Watch()], log_processor={"window_size": 3})
    first, second = (row for row in scalars(runner) if "loss" in row)
    assert first["loss"] == pytest.approx(sum(losses[1:4]) / 3)
    assert second["loss"] == pytest.approx(sum(losses[5:8]) / 3)


def test_the_rate_is_that_of_the_iteration(tmp_path):
    schedule = {"type": "MultiStepLR", "milestones": [2, 4], "by_epoch": False, "gamma": 0.1}
    rows = [row for row in scalars(trained(tmp_path, interval=1, param_scheduler=schedule)) if "lr" in row]
    assert [round(row["lr"], 6) for row in rows] == [0.1, 0.1, 0.01, 0.01, *[0.001] * 4]


def test_the_rest_of_an_epoch(tmp_path):
    """5 iterations an epoch, a line every 2: the rest has none, unless asked for."""
    loader = toy_loader(20)
    rows = [row["iter"] for row in scalars(trained(tmp_path / "a", train_dataloader=loader)) if "loss" in row]
    assert rows == [2, 4, 7, 9]
    logger = {"ignore_last": False}
    runner = trained(tmp_path / "b", train_dataloader=loader, logger=logger)
    assert [row["iter"] for row in scalars(runner) if "loss" in row] == [2, 4, 5, 7, 9, 10]


def test_metrics_against_epochs_or_iterations(tmp_path):
    runner = trained(tmp_path, logger={"log_metric_by_epoch": False})
    assert [row["step"] for row in scalars(runner) if "accuracy/top1" in row] == [4, 8]


def test_test_metrics_have_a_file_of_their_own(tmp_path):
    part = {"test_dataloader": toy_loader(8, shuffle=False), "test_cfg": {}, "test_evaluator": {"type": "Accuracy"}}
    runner = Runner.from_cfg(toy_config(tmp_path, **part))
    metrics = runner.test()
    saved = json.loads((Path(runner.log_dir) / f"{runner.timestamp}.json").read_text())
    assert saved["accuracy/top1"] == metrics["accuracy/top1"]
    assert runner.message_hub.get_scalar("test/accuracy/top1").current() == metrics["accuracy/top1"]


def test_message_hub_of_a_run(tmp_path):
    seen = {}

    class Looking(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            hub = runner.message_hub
            seen[runner.iter] = (hub.get_info("loop_stage"), hub.get_info("epoch"), hub.get_info("iter"))

        def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen["val"] = runner.message_hub.get_info("loop_stage")

    runner = trained(tmp_path, custom_hooks=[Looking()])
    assert seen[5] == ("train", 1, 5)
    assert seen["val"] == "val"
    hub = runner.message_hub
    assert hub.get_info("loop_stage") is None
    assert (hub.get_info("max_epochs"), hub.get_info("max_iters"), hub.get_info("seed")) == (2, 8, 1)
    assert hub.get_info("dataset_meta") == {"classes": ("a", "b", "c")}
    assert len(hub.get_scalar("train/loss")) == len(hub.get_scalar("train/lr")) == 8
    assert hub.get_info("experiment_name") == runner.experiment_name
    assert runner.cfg.pretty_text == hub.get_info("cfg")


def test_gradient_norms_are_logged(tmp_path):
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 0.5}}
    runner = trained(tmp_path, optim_wrapper=wrapper)
    assert all("grad_norm" in row for row in scalars(runner) if "loss" in row)
    assert len(runner.message_hub.get_scalar("train/grad_norm")) == 8


def test_custom_statistics(tmp_path):
    processor = {
        "custom_cfg": [
            {"data_src": "loss", "log_name": "loss_max", "method_name": "max", "window_size": "epoch"},
            {"data_src": "loss", "log_name": "loss_min", "method_name": "min", "window_size": "global"},
        ]
    }
    runner = trained(tmp_path, interval=4, log_processor=processor)
    values = runner.message_hub.get_scalar("train/loss").data[0]
    last = [row for row in scalars(runner) if "loss" in row][-1]
    assert last["loss_max"] == pytest.approx(max(values[4:]))
    assert last["loss_min"] == pytest.approx(min(values))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"custom_cfg": [{"log_name": "x"}]}, "lacks data_src"),
        ({"custom_cfg": [{"data_src": "loss", "method_name": "men"}]}, "'men' is unknown.*Did you mean 'mean'"),
        ({"by_epoch": False, "custom_cfg": [{"data_src": "a", "window_size": "epoch"}]}, "needs by_epoch=True"),
        ({"custom_cfg": [{"data_src": "a", "window_size": "all"}]}, "must be a number, 'epoch' or 'global'"),
        ({"custom_cfg": [{"data_src": "a"}, {"data_src": "a"}]}, "writes 'a' twice"),
        (
            {"custom_cfg": [{"data_src": "a", "method_name": "current", "window_size": 3}]},
            "current takes other arguments.*window_size",
        ),
    ],
)
def test_wrong_statistics(settings, text):
    with pytest.raises(ConfigError, match=text):
        LogProcessor(**settings)


def test_statistics_of_an_evaluation(tmp_path):
    processor = {"custom_cfg": [{"data_src": "accuracy/top1", "log_name": "best", "method_name": "max"}]}
    rows = [row for row in scalars(trained(tmp_path, log_processor=processor)) if "best" in row]
    tops = [row["accuracy/top1"] for row in rows]
    assert [row["best"] for row in rows] == [max(tops[:1]), max(tops)]


def test_a_mode_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="mode must be train, val or test here, but got 'trian'"):
        LogProcessor().get_log_after_iter(None, 0, "trian")
    with pytest.raises(ConfigError, match="mode must be val or test here, but got 'train'"):
        LogProcessor().get_log_after_epoch(None, 0, "train")


def test_what_a_subclass_overrides_is_called(tmp_path):
    class Own(LogProcessor):
        def _get_dataloader_size(self, runner, mode):
            return 1000 + len(self._get_cur_loop(runner, mode).dataloader)

        def _get_max_memory(self, runner):
            return 77

        def _collect_scalars(self, custom_cfg, runner, mode, reserve_prefix=False):
            return {**super()._collect_scalars(custom_cfg, runner, mode, reserve_prefix), "mine": 5}

    lines = log_lines(trained(tmp_path, log_processor=Own()))
    assert any(re.fullmatch(r"Epoch\(train\) \[1\]\[   2/1004\].*  memory: 77  .*  mine: 5", line) for line in lines)
    assert any(line.startswith("Epoch(val) [1][1002/1002]    ") and "mine: 5" in line for line in lines)


def test_names_with_their_stage(tmp_path):
    runner = trained(tmp_path, log_processor={"log_with_hierarchy": True})
    assert "train/loss" in scalars(runner)[0]
    assert "  time: " in next(line for line in log_lines(runner) if line.startswith("Epoch(train)"))


class Edges(Hook):
    """Keeps the reads between the first training iteration and the end of the last."""

    priority = "LOWEST"

    def __init__(self, active):
        self.active, self.reads = active, HostReads()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 0:
            self.start = self.active.sites.copy()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == runner.max_iters - 1:
            self.reads.sites = self.active.sites - self.start


class Ready:
    """A loader without work, so that only the engine's reads are left."""

    batch_size = 4
    dataset = range(4000)

    def __init__(self):
        from trainwright.data import default_collate
        from trainwright.testing.toys import ToyDataset

        data = ToyDataset(4)
        self.batch = default_collate([data[n] for n in range(4)])

    def __len__(self):
        return 1000

    def __iter__(self):
        return iter([self.batch] * 1000)


@pytest.mark.parametrize("by_epoch", [True, False])
def test_host_reads_of_a_run(tmp_path, by_epoch):
    """1,000 iterations, three loss terms, clipping, a line every 100: ten reads."""
    train_cfg = {"by_epoch": True, "max_epochs": 1} if by_epoch else {"by_epoch": False, "max_iters": 1000}
    with count_host_reads() as active:
        edges = Edges(active)
        cfg = toy_config(
            tmp_path,
            model=ToyModel(n_terms=3),
            train_dataloader=Ready(),
            train_cfg=train_cfg,
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9}, "clip_grad": {"max_norm": 10.0}},
            param_scheduler={"type": "CosineAnnealingLR", "T_max": 1000, "by_epoch": False},
            default_hooks={
                "logger": {"type": "LoggerHook", "interval": 100},
                "checkpoint": {"type": "CheckpointHook", "interval": -1, "save_last": False},
            },
            custom_hooks=[edges],
            val_dataloader=None,
            val_cfg=None,
            val_evaluator=None,
        )
        runner = Runner.from_cfg(cfg)
        runner.train()
    assert edges.reads.total == 10, edges.reads.report()
    assert all(
        len(runner.message_hub.get_scalar(f"train/{name}")) == 1000 for name in ("loss", "loss_size", "grad_norm")
    )
