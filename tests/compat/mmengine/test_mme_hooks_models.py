"""Hooks that average, wrap, profile or show, called by hand and in runs."""

import copy
import os
from unittest import mock

import pytest
import torch
from mme_cases import runner_case
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")


def test_average_settings():
    from mmengine.hooks import EMAHook

    with pytest.raises(AssertionError, match="`begin_iter` must larger than or equal to 0"):
        EMAHook(begin_iter=-1)
    with pytest.raises(AssertionError, match="`begin_epoch` must larger than or equal to 0"):
        EMAHook(begin_epoch=-1)
    with pytest.raises(AssertionError, match="`begin_iter` and `begin_epoch` should not be both set"):
        EMAHook(begin_iter=1, begin_epoch=1)
    assert not EMAHook().enabled_by_epoch
    runner = mock.Mock(max_epochs=3, max_iters=5)
    with pytest.raises(AssertionError, match="self.begin_epoch should be smaller than or equal to runner.max_epochs"):
        EMAHook(begin_epoch=4).before_train(runner)
    with pytest.raises(AssertionError, match="self.begin_iter should be smaller than or equal to runner.max_iters"):
        EMAHook(begin_iter=6).before_train(runner)


def test_the_average_by_hand():
    from mmengine.hooks import EMAHook
    from mmengine.model import ExponentialMovingAverage

    runner, hook = mock.Mock(max_epochs=10, max_iters=10), EMAHook(momentum=0.5)
    runner.model = nn.Linear(1, 1, bias=False)
    runner.model.weight.data.fill_(1.0)
    hook.before_run(runner)
    hook.before_train(runner)
    assert isinstance(hook.ema_model, ExponentialMovingAverage)
    assert hook.src_model is runner.model
    assert hook.ema_model.module is not runner.model
    runner.iter = 0
    hook.after_train_iter(runner, 0)
    runner.model.weight.data.fill_(3.0)
    hook.after_train_iter(runner, 1)
    average = float(hook.ema_model.module.weight.detach())
    assert average == 2.0
    for before, after in (
        (hook.before_val_epoch, hook.after_val_epoch),
        (hook.before_test_epoch, hook.after_test_epoch),
    ):
        before(runner)
        assert float(runner.model.weight.detach()) == average
        after(runner)
        assert float(runner.model.weight.detach()) == 3.0
    checkpoint = {"state_dict": {"weight": torch.full((1, 1), 3.0)}}
    hook.before_save_checkpoint(runner, checkpoint)
    assert float(checkpoint["state_dict"]["weight"]) == average
    assert float(checkpoint["ema_state_dict"]["module.weight"]) == 3.0
    assert int(checkpoint["ema_state_dict"]["steps"]) == 2
    runner._resume = True
    hook.after_load_checkpoint(runner, checkpoint)
    assert float(hook.ema_model.module.weight.detach()) == average
    assert float(checkpoint["state_dict"]["weight"]) == 3.0


def test_a_checkpoint_without_average_by_hand():
    from mmengine.hooks import EMAHook

    runner, hook = mock.Mock(), EMAHook()
    runner.model = nn.Linear(1, 1)
    hook.before_run(runner)
    for resumes in (True, False):
        runner._resume = resumes
        state = nn.Linear(1, 1).state_dict()
        with mock.patch("mmengine.hooks.ema_hook.print_log") as told:
            hook.after_load_checkpoint(runner, {"state_dict": state})
        assert told.called == resumes
        for name, value in hook.ema_model.module.state_dict().items():
            torch.testing.assert_close(value, state[name])


@pytest.mark.parametrize("begin", [{}, {"begin_epoch": 3}, {"begin_iter": 5}])
def test_the_average_in_a_run(begin):
    with runner_case() as case:
        cfg = copy.deepcopy(case.epoch_based_cfg)
        cfg.custom_hooks = [{"type": "EMAHook", **begin}]
        cfg.train_cfg.max_epochs = 4
        cfg.train_dataloader.batch_size = 6
        case.build_runner(cfg).train()

        def load(n):
            return torch.load(os.path.join(case.temp_dir.name, f"epoch_{n}.pth"), weights_only=False)

        saved = load(2)
        if not begin:
            assert int(saved["ema_state_dict"]["steps"]) == 4
            assert int(load(4)["ema_state_dict"]["steps"]) == 8
        else:
            for name, value in saved["state_dict"].items():
                torch.testing.assert_close(value, saved["ema_state_dict"][f"module.{name}"])
            last = load(4)
            assert int(last["ema_state_dict"]["steps"]) == 4
            assert any(
                not torch.equal(value, last["ema_state_dict"][f"module.{name}"])
                for name, value in last["state_dict"].items()
            )


def test_buffers_are_shared_where_there_are_other_ranks():
    from mmengine.hooks import SyncBuffersHook

    hook, runner = SyncBuffersHook(), mock.MagicMock()
    runner.model = nn.BatchNorm1d(2)
    assert hook.distributed is False
    with mock.patch("mmengine.hooks.sync_buffer_hook.all_reduce_params") as shared:
        hook.after_train_epoch(runner)
        hook.before_val_epoch(runner)
        shared.assert_not_called()
        hook.distributed = True
        hook.after_train_epoch(runner)
        assert shared.call_count == 1
        assert hook.called_in_train
        hook.before_val_epoch(runner)
        assert shared.call_count == 1
        assert not hook.called_in_train
        hook.before_val_epoch(runner)
        assert shared.call_count == 2


def _tta_model():
    from mmengine.model import BaseTTAModel

    class ToyTTAOfHooks(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return [sum(samples) for samples in data_samples_list]

    return ToyTTAOfHooks


def test_views_of_samples():
    from mmengine.hooks import PrepareTTAHook
    from mmengine.registry import MODELS

    MODELS.register_module(module=_tta_model(), force=True)
    try:
        runner = mock.MagicMock()
        inner = runner.model = nn.Linear(1, 1)
        inner.test_step = lambda data: [0]
        PrepareTTAHook(tta_cfg={"type": "ToyTTAOfHooks"}).before_test(runner)
        assert type(runner.model).__name__ == "ToyTTAOfHooks"
        assert runner.model.module is inner
    finally:
        MODELS.module_dict.pop("ToyTTAOfHooks")


def test_runner_with_views_needs_its_settings():
    from mmengine.hooks.test_time_aug_hook import build_runner_with_tta

    with runner_case() as case:
        for name, value in (("tta_model", {"type": "X"}), ("tta_pipeline", [])):
            cfg = copy.deepcopy(case.epoch_based_cfg)
            cfg[name] = value
            with pytest.raises(AssertionError):
                build_runner_with_tta(cfg)


def test_profiler_settings():
    from mmengine.hooks import ProfilerHook

    for settings in ({"profile_times": 0}, {"by_epoch": False, "profile_times": 0}, {"profile_times": 2}):
        with pytest.raises(ValueError, match="profile|Profile"):
            ProfilerHook(**settings)
    for settings in ({"by_epoch": 1}, {"activity_with_cpu": 1}, {"activity_with_cuda": 1}, {"schedule": [1]}):
        with pytest.raises(AssertionError):
            ProfilerHook(**settings)
    hook = ProfilerHook(by_epoch=False, profile_times=10, schedule={"wait": 1, "warmup": 1, "active": 3, "repeat": 1})
    assert callable(hook.schedule)
    assert hook.profile_times == 10
    assert ProfilerHook().schedule is None
    with pytest.raises(ValueError, match="profile_times"):
        hook.before_run(mock.Mock(max_iters=5, max_epochs=1))


def test_profiler_handlers():
    from mmengine.hooks import ProfilerHook

    runner = mock.MagicMock(max_epochs=3, max_iters=9, log_dir="logs")
    started = mock.MagicMock()
    with mock.patch("torch.profiler.profile", started):
        ProfilerHook().before_run(runner)
        assert started.call_args.kwargs["on_trace_ready"] is None
        started.return_value.__enter__.assert_called_once()

        def handler(profile):
            pass

        ProfilerHook(on_trace_ready=handler).before_run(runner)
        assert started.call_args.kwargs["on_trace_ready"] is handler
        ProfilerHook(on_trace_ready={"type": "log_trace"}).before_run(runner)
        assert callable(started.call_args.kwargs["on_trace_ready"])
        with pytest.raises(ValueError, match="trace_type|on_trace_ready"):
            ProfilerHook(on_trace_ready={"type": "unknown"}).before_run(runner)
        with pytest.raises(ValueError, match="on_trace_ready"):
            ProfilerHook(on_trace_ready="unknown").before_run(runner)


def test_profiler_steps_and_ends():
    from mmengine.hooks import ProfilerHook

    runner = mock.MagicMock(max_epochs=3, max_iters=9)
    with mock.patch("torch.profiler.profile", mock.MagicMock()):
        hook = ProfilerHook(by_epoch=False, profile_times=2, json_trace_path="trace.json")
        hook.before_run(runner)
        hook.profiler = mock.MagicMock()
        for n in range(3):
            runner.iter = n
            hook.after_train_iter(runner, n, None, None)
        assert hook.profiler.step.call_count == 2
        hook.profiler.__exit__.assert_called_once()
        hook.profiler.export_chrome_trace.assert_called_once_with("trace.json")

        hook = ProfilerHook()
        hook.before_run(runner)
        hook.profiler = mock.MagicMock()
        hook.after_train_iter(runner, 0, None, None)
        hook.after_train_epoch(runner)
        hook.after_train_epoch(runner)
        hook.profiler.__exit__.assert_called_once()
        hook.profiler.export_chrome_trace.assert_not_called()


NORM = {"img_norm_cfg": {"mean": (0, 0, 0), "std": (0.5, 0.5, 0.5), "to_bgr": True}}
PAD = {"scale": (10, 10), "pad_shape": (15, 15, 3)}


@pytest.mark.parametrize("prepared", [{**NORM, **PAD}, PAD, {}, NORM])
def test_samples_are_shown(prepared):
    from mmengine.hooks import NaiveVisualizationHook
    from mmengine.structures import BaseDataElement

    runner, hook = mock.Mock(iter=1), NaiveVisualizationHook()
    sample = BaseDataElement(metainfo={**prepared, "ori_height": 5, "ori_width": 5, "img_path": "folder/tmp.jpg"})
    prediction = BaseDataElement()
    batch = [{"inputs": torch.randn(1, 3, 15, 15), "data_sample": sample}]
    hook.after_test_iter(runner, 10, batch, [prediction])
    args = runner.visualizer.add_datasample.call_args.args
    assert args[0] == "tmp.jpg"
    assert args[1].shape == (5, 5, 3)


def test_nothing_is_shown_in_between():
    from mmengine.hooks import NaiveVisualizationHook

    runner = mock.Mock()
    NaiveVisualizationHook(interval=3).after_test_iter(runner, 0, [], [])
    runner.visualizer.add_datasample.assert_not_called()
