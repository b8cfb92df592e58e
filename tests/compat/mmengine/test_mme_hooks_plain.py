"""Hooks that put down times, lines and numbers, called by hand with runners that are mocks or were only built."""

import copy
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mme_cases import runner_case
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")


def test_timer_begins():
    from mmengine.hooks import IterTimerHook

    hook = IterTimerHook()
    assert (hook.time_sec_tot, hook.time_sec_test_val, hook.start_iter) == (0, 0, 0)
    runner = mock.MagicMock()
    runner.iter = 1
    hook.before_train(runner)
    assert hook.start_iter == 1
    hook._before_epoch(mock.Mock())
    assert isinstance(hook.t, float)


def test_timer_puts_down_waiting_and_iterations():
    from mmengine.hooks import IterTimerHook

    hook, runner = IterTimerHook(), mock.MagicMock()
    with mock.patch("time.time", mock.MagicMock(return_value=1)):
        hook._before_epoch(runner)
        for mode in ("train", "val", "test"):
            hook._before_iter(runner, batch_idx=1, mode=mode)
            runner.message_hub.update_scalar.assert_called_with(f"{mode}/data_time", 0)


def test_timer_estimates():
    from mmengine.hooks import IterTimerHook
    from mmengine.logging import MessageHub

    hook, runner = IterTimerHook(), mock.MagicMock()
    hub = runner.message_hub = MessageHub.get_instance("hub_of_a_timer")
    runner.max_iters, runner.iter = 100, 0
    runner.val_dataloader = runner.test_dataloader = [0] * 20
    now = mock.MagicMock(return_value=0.0)
    with mock.patch("time.time", now):
        hook.before_train(runner)
        hook._before_epoch(runner)
        for n in range(10):
            runner.iter = n
            now.return_value += 2
            hook._after_iter(runner, batch_idx=n)
            assert hub.get_info("eta") == 2 * (100 - n - 1)
        assert hub.get_scalar("train/time").current() == 2
        for mode in ("val", "test"):
            hook._before_epoch(runner, mode=mode)
            for n in range(20):
                now.return_value += 3
                hook._after_iter(runner, batch_idx=n, mode=mode)
                assert hub.get_info("eta") == 3 * (20 - n - 1)
            hook._after_epoch(runner, mode=mode)
            assert hook.time_sec_test_val == 0


def _logger_runner(folder=""):
    runner = mock.MagicMock()
    runner._max_epochs = 10
    runner.timestamp = runner.experiment_name = "20210101"
    runner.work_dir = str(folder)
    runner.log_dir = runner._log_dir = str(folder)
    return runner


def test_logger_settings(tmp_path):
    from mmengine.hooks import LoggerHook

    hook = LoggerHook(out_dir="tmp.txt")
    assert (hook.interval, hook.ignore_last, hook.interval_exp_name) == (10, True, 1000)
    assert hook.out_suffix == (".json", ".log", ".py", "yaml")
    assert hook.keep_local
    assert hook.file_client_args is None
    from mmengine.fileio import FileClient, LocalBackend

    assert isinstance(hook.file_client, FileClient)
    assert isinstance(hook.file_client.client, LocalBackend)
    assert isinstance(hook.file_backend, LocalBackend)
    hook = LoggerHook(out_dir=str(tmp_path), file_client_args={"backend": "disk"})
    assert hook.file_backend is hook.file_client
    hook = LoggerHook(out_dir=str(tmp_path), backend_args={"backend": "local"})
    assert isinstance(hook.file_backend, LocalBackend)

    with pytest.raises(TypeError, match="interval must be"):
        LoggerHook(interval="1")
    with pytest.raises(ValueError, match="interval"):
        LoggerHook(interval=0)
    with pytest.raises(TypeError, match="ignore_last must be"):
        LoggerHook(ignore_last="error")
    with pytest.raises(TypeError, match="interval_exp_name must be"):
        LoggerHook(interval_exp_name="1")
    with pytest.raises(ValueError, match="interval_exp_name"):
        LoggerHook(interval_exp_name=0)
    with pytest.raises(TypeError, match="out_dir must be a"):
        LoggerHook(out_dir=1)
    with pytest.raises(TypeError, match="keep_local must be"):
        LoggerHook(keep_local="True")
    with pytest.raises(ValueError, match="file_client_args"):
        LoggerHook(file_client_args={"backend": "disk"})
    with pytest.raises(ValueError, match="at the same time|keep backend_args"):
        LoggerHook(out_dir="tmp", file_client_args={"backend": "disk"}, backend_args={"backend": "local"})
    with pytest.raises(TypeError, match="out_suffix"):
        LoggerHook(out_suffix=[".json", 1])


def test_logger_before_run(tmp_path):
    from mmengine.hooks import LoggerHook

    runner = _logger_runner("work_dir")
    hook = LoggerHook(out_dir=str(tmp_path))
    hook.before_run(runner)
    assert hook.out_dir == os.path.join(str(tmp_path), "work_dir")
    assert hook.json_log_path == f"{runner.timestamp}.json"


def test_logger_after_run(tmp_path):
    from mmengine.hooks import LoggerHook

    (tmp_path / "work").mkdir()
    runner = _logger_runner(tmp_path / "work")
    hook = LoggerHook()
    hook.after_run(runner)
    runner.visualizer.close.assert_called()

    hook = LoggerHook(out_dir=str(tmp_path / "out"), out_suffix=".log", keep_local=True)
    hook.before_run(runner)
    (tmp_path / "work" / "a.log").write_text("line")
    (tmp_path / "work" / "b.txt").write_text("text")
    hook.after_run(runner)
    assert (tmp_path / "out" / "work" / "a.log").read_text() == "line"
    assert not (tmp_path / "out" / "work" / "b.txt").exists()
    assert (tmp_path / "work" / "a.log").exists()

    hook = LoggerHook(out_dir=str(tmp_path / "gone"), out_suffix=".log", keep_local=False)
    hook.before_run(runner)
    hook.after_run(runner)
    assert (tmp_path / "gone" / "work" / "a.log").exists()
    assert not (tmp_path / "work" / "a.log").exists()


def test_logger_after_train_iter():
    from mmengine.hooks import LoggerHook

    runner = _logger_runner()
    runner.iter = 10
    runner.train_dataloader = [0] * 5
    runner.log_processor.get_log_after_iter = mock.MagicMock(return_value=({}, "log_str"))
    LoggerHook().after_train_iter(runner, batch_idx=1)
    runner.log_processor.get_log_after_iter.assert_not_called()

    runner.train_dataloader = [0] * 10
    runner.log_processor.get_log_after_iter = mock.MagicMock(return_value=({}, "log_str"))
    LoggerHook().after_train_iter(runner, batch_idx=9)
    runner.log_processor.get_log_after_iter.assert_called_with(runner, 9, "train")
    runner.visualizer.add_scalars.assert_called_with({}, step=11, file_path=None)

    # the shorter rest of an epoch
    runner.train_dataloader = [0] * 7
    runner.log_processor.get_log_after_iter = mock.MagicMock(return_value=({}, "log_str"))
    LoggerHook(ignore_last=False).after_train_iter(runner, batch_idx=6)
    runner.log_processor.get_log_after_iter.assert_called()
    runner.train_dataloader = [0] * 17
    runner.log_processor.get_log_after_iter = mock.MagicMock(return_value=({}, "log_str"))
    LoggerHook().after_train_iter(runner, batch_idx=16)
    runner.log_processor.get_log_after_iter.assert_not_called()

    # the experiment's name
    runner.logger.info = mock.MagicMock()
    runner.iter = 999
    runner.train_dataloader = [0] * 5
    LoggerHook().after_train_iter(runner, batch_idx=999)
    assert any("Exp name: 20210101" in str(call.args[0] % call.args[1:]) for call in runner.logger.info.mock_calls)


def test_logger_after_val_and_test():
    from mmengine.hooks import LoggerHook

    runner = _logger_runner()
    hook = LoggerHook()
    runner.iter = runner.epoch = 10
    runner.val_dataloader = runner.test_dataloader = [0] * 4
    runner.log_processor.get_log_after_iter = mock.MagicMock(return_value=({}, "log_str"))
    hook.after_val_iter(runner, 1)
    hook.after_test_iter(runner, 1)
    runner.log_processor.get_log_after_iter.assert_not_called()
    hook.after_val_iter(runner, 9)
    runner.log_processor.get_log_after_iter.assert_called_with(runner, 9, "val")
    hook.after_test_iter(runner, 9)
    runner.log_processor.get_log_after_iter.assert_called_with(runner, 9, "test")

    runner.log_processor.get_log_after_epoch = mock.MagicMock(return_value=({"acc": 1}, "string"))
    hook.after_val_epoch(runner)
    runner.log_processor.get_log_after_epoch.assert_called_with(runner, 4, "val")
    runner.logger.info.assert_called_with("string")
    args, kwargs = runner.visualizer.add_scalars.call_args
    assert args[0]["acc"] == 1
    assert kwargs["step"] == 10

    hook = LoggerHook(log_metric_by_epoch=False)
    runner.iter, runner.epoch = 7, 1
    hook.after_val_epoch(runner)
    assert runner.visualizer.add_scalars.call_args.kwargs["step"] == 7
    # training that was not built
    runner._train_loop = None
    hook.after_val_epoch(runner)
    assert runner.visualizer.add_scalars.call_args.kwargs["step"] == 0


def test_logger_dumps_what_a_test_gave(tmp_path):
    import json

    from mmengine.hooks import LoggerHook

    runner, hook = _logger_runner(tmp_path), LoggerHook()
    tags = {"acc": 0.5, "list": [1, torch.tensor([2.0])], "array": np.ones(2), "map": {"a": torch.tensor(3)}}
    runner.log_processor.get_log_after_epoch = mock.MagicMock(return_value=(tags, "string"))
    runner.test_dataloader = [0]
    hook.before_run(runner)
    hook.after_test_epoch(runner)
    runner.log_processor.get_log_after_epoch.assert_called_with(runner, 1, "test", with_non_scalar=True)
    read = json.loads((tmp_path / hook.json_log_path).read_text())
    assert read == {"acc": 0.5, "list": [1, [2.0]], "array": [1.0, 1.0], "map": {"a": 3}}
    assert dict(hook._process_tags({"a": 1, "t": torch.ones(2)})) == {"a": 1, "t": [1.0, 1.0]}


def _hook_of(runner, kind):
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def test_runtime_info_of_a_runner_that_is_only_built():
    from mmengine.hooks import RuntimeInfoHook
    from mmengine.optim import OptimWrapper, OptimWrapperDict

    with runner_case() as case:
        runner = case.build_runner(copy.deepcopy(case.epoch_based_cfg))
        hook, hub = _hook_of(runner, RuntimeInfoHook), runner.message_hub
        hook.before_run(runner)
        assert hub.get_info("cfg") == runner.cfg.pretty_text
        assert hub.get_info("seed") == runner.seed
        assert hub.get_info("experiment_name") == runner.experiment_name
        hook.before_train(runner)
        assert (hub.get_info("epoch"), hub.get_info("iter")) == (0, 0)
        assert (hub.get_info("max_epochs"), hub.get_info("max_iters")) == (2, 8)
        assert hub.get_info("loop_stage") == "train"
        hook.before_train_epoch(runner)
        assert hub.get_info("epoch") == 0

        model = nn.Linear(1, 1)
        first, second = (OptimWrapper(torch.optim.SGD(model.parameters(), lr=lr)) for lr in (0.01, 0.02))
        runner.optim_wrapper = first
        hook.before_train_iter(runner, batch_idx=2, data_batch=None)
        assert hub.get_info("iter") == 0
        assert hub.get_scalar("train/lr").current() == 0.01
        runner.optim_wrapper = OptimWrapperDict(key1=first, key2=second)
        hook.before_train_iter(runner, batch_idx=2, data_batch=None)
        assert hub.get_scalar("train/key1.lr").current() == 0.01
        assert hub.get_scalar("train/key2.lr").current() == 0.02
        runner.optim_wrapper = mock.MagicMock()
        runner.optim_wrapper.get_lr = mock.MagicMock(return_value="error_type")
        with pytest.raises(AssertionError, match=r"runner.optim_wrapper.get_lr\(\)"):
            hook.before_train_iter(runner, batch_idx=2, data_batch=None)

        hook.after_train_iter(runner, batch_idx=2, data_batch=None, outputs={"loss_cls": 1.111})
        assert hub.get_scalar("train/loss_cls").current() == 1.111
        hook.after_train(runner)
        assert hub.get_info("loop_stage") is None
        hook.before_val(runner)
        assert hub.get_info("loop_stage") == "val"
        metrics = {"acc": 0.8, "list": [1, 2], "np0": np.array(0.7), "np1": np.array([0.6]), "t": torch.tensor(0.5)}
        for stage, call in (("val", hook.after_val_epoch), ("test", hook.after_test_epoch)):
            call(runner, metrics)
            assert hub.get_scalar(f"{stage}/acc").current() == 0.8
            assert hub.get_scalar(f"{stage}/np0").current() == 0.7
            assert hub.get_scalar(f"{stage}/np1").current() == 0.6
            assert hub.get_scalar(f"{stage}/t").current() == 0.5
            assert hub.get_info(f"{stage}/list") == [1, 2]
        hook.after_val(runner)
        assert hub.get_info("loop_stage") is None


def test_runtime_info_of_a_mock():
    from mmengine.hooks import RuntimeInfoHook
    from mmengine.logging import MessageHub

    runner, hook = mock.MagicMock(), RuntimeInfoHook()
    hub = runner.message_hub = MessageHub.get_instance("hub_of_runtime_infos")
    runner.epoch, runner.iter, runner.max_epochs, runner.max_iters = 7, 71, 4, 40
    runner.train_dataloader.dataset.metainfo = {"classes": ["a"]}
    hook.before_train(runner)
    found = [hub.get_info(name) for name in ("epoch", "iter", "max_epochs", "max_iters", "dataset_meta")]
    assert found == [7, 71, 4, 40, {"classes": ["a"]}]
    runner.epoch = 9
    hook.before_train_epoch(runner)
    assert hub.get_info("epoch") == 9
    runner.optim_wrapper.get_lr.return_value = {"lr": [0.1, 0.2]}
    runner.iter = 72
    hook.before_train_iter(runner, batch_idx=2)
    assert hub.get_info("iter") == 72
    assert hub.get_scalar("train/lr").current() == 0.1
    hook.after_train_iter(runner, batch_idx=2, outputs={"loss": 2.0})
    assert hub.get_scalar("train/loss").current() == 2.0


def test_the_scalars():
    from mmengine.hooks.runtime_info_hook import _is_scalar

    for value in (1, 0.1, np.array(1), np.array([1]), torch.tensor(1), torch.tensor([1]), np.float32(1)):
        assert _is_scalar(value)
    for value in (np.array([1, 2]), torch.tensor([1, 2]), [1], (1,), "1", np.array([[1, 2]])):
        assert not _is_scalar(value)


def test_runtime_info_in_a_run():
    from mmengine.hooks import RuntimeInfoHook

    with runner_case() as case:
        runner = case.build_runner(copy.deepcopy(case.epoch_based_cfg))
        runner.train()
        hub = runner.message_hub
        assert hub.get_info("loop_stage") is None
        assert hub.get_info("dataset_meta") == {}
        assert hub.get_scalar("train/lr").current() == 0.1
        assert hub.get_scalar("val/acc").current() == 1
        assert isinstance(_hook_of(runner, RuntimeInfoHook), RuntimeInfoHook)
        assert any(Path(runner.log_dir).glob("*.log"))
