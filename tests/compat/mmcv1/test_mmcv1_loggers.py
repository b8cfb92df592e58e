import os
import sys
import types
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmcv1_log_lines import SCENARIOS, fake_runner, lines_of, recorded
from mmcv1_suite import packages, peer_installed

from trainwright.base.errors import ConfigError, ConfigTypeError, MissingExtraError
from trainwright.compat.mmcv1.errors import RuleError
from trainwright.compat.mmcv1.runner import hooks
from trainwright.compat.mmcv1.runner.hooks.logger import (
    ClearMLLoggerHook,
    DvcliveLoggerHook,
    LoggerHook,
    MlflowLoggerHook,
    NeptuneLoggerHook,
    PaviLoggerHook,
    SegmindLoggerHook,
    TensorboardLoggerHook,
    TextLoggerHook,
    WandbLoggerHook,
)
from trainwright.compat.mmcv1.runner.log_buffer import LogBuffer
from trainwright.testing.host_reads import count_host_reads

ALL = [
    ClearMLLoggerHook,
    DvcliveLoggerHook,
    MlflowLoggerHook,
    NeptuneLoggerHook,
    PaviLoggerHook,
    SegmindLoggerHook,
    TensorboardLoggerHook,
    TextLoggerHook,
    WandbLoggerHook,
]


# the lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENARIOS)
def test_lines_are_as_recorded_of_mmcv(name, tmp_path):
    assert lines_of(name, TextLoggerHook, LogBuffer, tmp_path) == recorded()[name]


def test_what_is_recorded_are_the_scenarios():
    assert list(recorded()) == list(SCENARIOS)


@pytest.mark.mmcv1
@pytest.mark.parametrize("name", SCENARIOS)
def test_lines_are_those_that_mmcv_writes(name, tmp_path):
    (tmp_path / "ours").mkdir()
    (tmp_path / "peer").mkdir()
    with peer_installed() as mmcv:
        expected = lines_of(name, mmcv.runner.TextLoggerHook, mmcv.runner.LogBuffer, tmp_path / "peer")
    assert lines_of(name, TextLoggerHook, LogBuffer, tmp_path / "ours") == expected == recorded()[name]


def test_the_most_memory_is_in_the_line_where_there_is_a_gpu(tmp_path):
    runner, hook = fake_runner(LogBuffer(), tmp_path), TextLoggerHook(interval=1)
    runner.hooks = [hook]
    hook.before_run(runner)
    runner.log_buffer.update({"data_time": 0.5, "time": 1.0})
    with (
        mock.patch.object(torch.cuda, "is_available", return_value=True),
        mock.patch.object(torch.cuda, "max_memory_allocated", return_value=3 * 1024**2 + 5) as asked,
    ):
        hook.after_train_iter(runner)
    asked.assert_called_once_with(device=None)
    assert runner.logger.lines[-1].endswith("time: 1.000, data_time: 0.500, memory: 3, ")


def test_a_rank_that_is_not_the_first_writes_no_json(tmp_path):
    runner, hook = fake_runner(LogBuffer(), tmp_path), TextLoggerHook()
    runner.hooks, runner.rank = [hook], 1
    hook.before_run(runner)
    assert not os.listdir(tmp_path)


def test_texts_are_copied_to_the_folder_of_the_run(tmp_path):
    work_dir = tmp_path / "work"
    work_dir.mkdir()
    (work_dir / "config.py").write_text("lr = 1\n")
    (work_dir / "model.pth").write_text("")
    for keep in (True, False):
        runner = fake_runner(LogBuffer(), f"{work_dir}/")
        hook = TextLoggerHook(out_dir=str(tmp_path / "out"), keep_local=keep)
        runner.hooks = [hook]
        hook.before_run(runner)
        hook.after_run(runner)
        assert sorted(os.listdir(tmp_path / "out" / "work")) == ["20260102_030405.log.json", "config.py"]
        assert (tmp_path / "out" / "work" / "config.py").read_text() == "lr = 1\n"
        assert (work_dir / "config.py").exists() == keep
    assert os.listdir(work_dir) == ["model.pth"]


def test_settings_of_the_copy():
    with pytest.raises(ConfigError, match="file_client_args=.* is for out_dir, and there is none"):
        TextLoggerHook(file_client_args={"backend": "disk"})
    with pytest.raises(ConfigTypeError, match="out_dir must be a str or None, got 3"):
        TextLoggerHook(out_dir=3)


# when -----------------------------------------------------------------------------------------------------------------


class Counting(LoggerHook):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.lines = []

    def log(self, runner):
        self.lines.append(dict(runner.log_buffer.output))


def test_nothing_is_done_between_two_lines(tmp_path):
    runner, hook = fake_runner(LogBuffer(), tmp_path), Counting(interval=4)
    runner.log_buffer.update({"loss": torch.ones(())})
    with count_host_reads() as reads:
        for runner.inner_iter in range(3):
            hook.after_train_iter(runner)
    assert reads.total == 0, reads.report()
    runner.inner_iter = 3
    hook.after_train_iter(runner)
    assert hook.lines == [{"loss": 1.0}]


def test_the_last_logger_empties_the_output(tmp_path):
    runner = fake_runner(LogBuffer(), tmp_path)
    first, last = Counting(interval=1, reset_flag=False), Counting(interval=1)
    runner.hooks = [first, last, hooks.Hook()]
    first.before_run(runner)
    runner.log_buffer.update({"loss": 1.0})
    for hook in (first, last):
        hook.after_train_iter(runner)
    assert [first.reset_flag, last.reset_flag] == [False, True]
    assert first.lines == last.lines == [{"loss": 1.0}]
    assert not runner.log_buffer.ready
    assert not runner.log_buffer.output


def test_a_logger_must_say_how_it_writes(tmp_path):
    runner = fake_runner(LogBuffer(), tmp_path)
    with pytest.raises(NotImplementedError, match=r"LoggerHook must write the line in log\(runner\)"):
        LoggerHook().after_val_epoch(runner)


def test_a_mode_of_the_users_own(tmp_path):
    runner = fake_runner(LogBuffer(), tmp_path)
    runner.mode = "probe"
    for ask in (LoggerHook().get_mode, LoggerHook().get_epoch):
        with pytest.raises(ConfigError, match="must be 'train' or 'val', got 'probe'"):
            ask(runner)


def test_tags(tmp_path):
    runner = fake_runner(LogBuffer(), tmp_path)
    runner.log_buffer.output.update(time=1.0, data_time=0.1, loss=2.0, note="text", map=np.ones(2))
    tags = LoggerHook().get_loggable_tags
    rates = {"learning_rate": 0.05, "momentum": 0.9}
    assert list(tags(runner)) == ["train/loss", "train/map", *rates]
    assert list(tags(runner, allow_text=True, add_mode=False)) == ["loss", "note", "map", *rates]
    assert list(tags(runner, allow_scalar=False, tags_to_skip=())) == ["train/map", *rates]
    runner.current_lr = lambda: {"g": [1.0], "d": [2.0]}
    assert tags(runner)["learning_rate/d"] == 2.0


def test_a_tensor_of_no_dimension_is_a_scalar():
    assert LoggerHook.is_scalar(torch.ones(()))
    assert not LoggerHook.is_scalar(np.ones(()), include_np=False)


# trackers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "package", "command"),
    [
        (ClearMLLoggerHook, "clearml", "pip install clearml"),
        (DvcliveLoggerHook, "dvclive", "pip install dvclive"),
        (MlflowLoggerHook, "mlflow", "pip install mlflow"),
        (NeptuneLoggerHook, "neptune.new", "pip install neptune-client"),
        (SegmindLoggerHook, "segmind", "pip install segmind"),
        (WandbLoggerHook, "wandb", "pip install wandb"),
    ],
)
def test_a_package_that_is_missing_is_named_when_the_hook_is_made(hook, package, command):
    with (
        mock.patch.dict(sys.modules, {package: None}),
        pytest.raises(MissingExtraError, match=f"{hook.__name__} needs the package '{package}'.*{command}"),
    ):
        hook()


@pytest.mark.parametrize(
    ("hook", "package", "command"),
    [
        (PaviLoggerHook, "pavi", "pip install pavi"),
        (TensorboardLoggerHook, "tensorboard", r"pip install 'trainwright\[vis\]'"),
    ],
)
def test_a_package_that_is_missing_is_named_when_the_run_begins(hook, package, command, tmp_path):
    runner, made = fake_runner(LogBuffer(), tmp_path, meta=None), hook()
    runner.hooks = [made]
    hidden = {name: None for name in sys.modules if name.partition(".")[0] == package} | {package: None}
    with mock.patch.dict(sys.modules, hidden):
        sys.modules.pop("torch.utils.tensorboard", None)
        with pytest.raises(MissingExtraError, match=f"{hook.__name__} needs the package '{package}'.*{command}"):
            made.before_run(runner)


def through(runner, hook, *, evaluate=False):
    """A run of one logged iteration."""
    runner.hooks = [hook]
    hook.before_run(runner)
    hook.before_train_epoch(runner)
    hook.before_train_iter(runner)
    runner.log_buffer.update({"time": 1.0, "loss": 2.0})
    runner.log_buffer.output["note"] = "text"
    hook.after_train_iter(runner)
    hook.after_train_epoch(runner)
    hook.after_run(runner)


def test_tensorboard_has_the_numbers_and_texts(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    through(fake_runner(LogBuffer(), tmp_path), TensorboardLoggerHook(interval=1))
    events = EventAccumulator(str(tmp_path / "tf_logs")).Reload()
    assert {tag: events.Scalars(tag)[0].step for tag in events.Tags()["scalars"]} == dict.fromkeys(
        ["train/loss", "learning_rate", "momentum"], 1
    )
    assert events.Scalars("train/loss")[0].value == 2.0
    assert events.Tags()["tensors"] == ["train/note/text_summary"]


def test_newer_packages_are_called_by_their_newer_names(tmp_path):
    live = types.SimpleNamespace(logged=[], step=None)
    live.log_metric = lambda name, value: live.logged.append((live.step, name, value))
    with packages("dvclive"):
        through(fake_runner(LogBuffer(), tmp_path), DvcliveLoggerHook(interval=1, by_epoch=False, dvclive=live))
    assert live.logged == [(1, "train/loss", 2.0), (1, "learning_rate", 0.05), (1, "momentum", 0.9)]
    ended = []
    wandb = types.SimpleNamespace(init=lambda: None, log=lambda *a, **k: None, finish=lambda: ended.append(True))
    with mock.patch.dict(sys.modules, {"wandb": wandb}):
        through(fake_runner(LogBuffer(), tmp_path), WandbLoggerHook(interval=1, log_artifact=False))
    assert ended == [True]


def test_dvclive_by_epoch_writes_after_the_epoch(tmp_path):
    runner, saved = fake_runner(LogBuffer(), tmp_path), []
    runner.save_checkpoint = lambda folder, **settings: saved.append((str(folder), settings))
    live = mock.Mock()
    with packages("dvclive"):
        hook = DvcliveLoggerHook(model_file=str(tmp_path / "model.pth"), dvclive=live)
    assert hook.idle_at("after_train_iter")
    assert not hook.idle_at("after_train_epoch")
    through(runner, hook)
    live.log.assert_not_called()
    assert saved == [(str(tmp_path), {"filename_tmpl": "model.pth", "create_symlink": False})]
    runner.log_buffer.average()
    hook.after_train_epoch(runner)
    live.set_step.assert_called_with(1)
    live.log.assert_called_with("momentum", 0.9)


def test_steps_as_values(tmp_path):
    with packages("neptune", "neptune.new", "wandb"):
        neptune, wandb = NeptuneLoggerHook(interval=1, with_step=False), WandbLoggerHook(interval=1, with_step=False)
        through(fake_runner(LogBuffer(), tmp_path), neptune)
        through(fake_runner(LogBuffer(), tmp_path), wandb)
    tags = {"train/loss": 2.0, "learning_rate": 0.05, "momentum": 0.9, "global_step": 1}
    neptune.run["momentum"].log.assert_called_with(tags)
    wandb.wandb.log.assert_called_with(tags, commit=True)


@pytest.mark.parametrize("hook", [h for h in ALL if h is not TextLoggerHook])
def test_other_ranks_write_nothing_and_keep_nothing(hook, tmp_path, monkeypatch):
    from trainwright.compat.mmcv1.runner import dist_utils

    monkeypatch.setattr(dist_utils, "get_dist_info", lambda: (1, 2))
    names = ("clearml", "dvclive", "mlflow", "mlflow.pytorch", "neptune", "neptune.new", "pavi", "segmind", "wandb")
    with packages(*names):
        made = hook(interval=1, by_epoch=False)
        calls = {name: len(sys.modules[name].mock_calls) for name in names}
        runner = fake_runner(LogBuffer(), tmp_path)
        runner._model_name = "Linear"
        through(runner, made)
        assert {name: len(sys.modules[name].mock_calls) for name in names} == calls
    assert not runner.log_buffer.ready
    assert not os.listdir(tmp_path)


class Draws(torch.nn.Linear):
    def forward_dummy(self, image, scale=1):
        return image * scale


@pytest.mark.parametrize("by_epoch", [True, False])
def test_pavi_draws_the_graph(by_epoch, tmp_path):
    runner = fake_runner(LogBuffer(), tmp_path / "work")
    runner.model, runner._model_name, runner.data_loader = Draws(2, 2), "Draws", [{"image": torch.ones(1, 2)}]
    drawn = []
    graph = {"active": True, "img_key": "image", "dummy_forward_kwargs": {"scale": 3}}
    with packages("pavi") as (pavi,):
        pavi.SummaryWriter.return_value.add_graph = lambda model, image, **settings: drawn.append(
            (model.forward(image).tolist(), settings)
        )
        through(runner, PaviLoggerHook(interval=1, by_epoch=by_epoch, add_graph_kwargs=graph))
    assert drawn == [([[3.0, 3.0]], {"tag": "work_1", "opset_version": 11})]
    assert runner.model.forward(torch.ones(1, 2)).shape == (1, 2)
    assert "forward" not in vars(runner.model) or runner.model.forward.__func__ is torch.nn.Linear.forward


def test_pavi_reads_the_config_that_meta_names(tmp_path):
    config = Path(tmp_path) / "config.py"
    config.write_text("lr = 0.5\n")
    runner = fake_runner(LogBuffer(), tmp_path / "work")
    runner._model_name, runner.meta = "Linear", {"config_file": str(config)}
    with packages("pavi") as (pavi,):
        through(runner, PaviLoggerHook())
    assert pavi.SummaryWriter.call_args.kwargs["session_text"] == "lr: 0.5\nmax_iter: 15\n"
    runner.meta = {"config_dict": "text"}
    with packages("pavi"), pytest.raises(RuleError, match=r"meta\['config_dict'\] must be a dict, got 'text'"):
        through(runner, PaviLoggerHook())


def test_all_are_in_the_registry():
    assert [hooks.HOOKS.get(hook.__name__) for hook in ALL] == ALL
