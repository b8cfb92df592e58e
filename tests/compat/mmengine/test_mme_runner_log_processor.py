"""mmengine.runner.log_processor: the line and the scalars, for a runner that is a mock."""

from unittest import mock

import numpy as np
import pytest
import torch
from mme_suite import has_gpu

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def runner(mmengine):
    from mmengine.logging import MessageHub, MMLogger

    hub = MessageHub.get_instance("log_processor_test")
    hub._log_scalars.clear()
    hub._runtime_info.clear()
    for i in range(10):
        hub.update_scalar("train/loss", 10 - i)
        hub.update_scalar("val/acc", i * 0.1)
    found = mock.MagicMock(epoch=1, max_epochs=10, iter=10, max_iters=50, message_hub=hub)
    for mode, length in (("train", 20), ("val", 10), ("test", 5)):
        setattr(found, f"{mode}_dataloader", [0] * length)
        getattr(found, f"{mode}_loop").dataloader = [0] * length
    found.logger = MMLogger.get_instance("log_processor_test")
    return found


def processor(**settings):
    from mmengine.runner import LogProcessor

    return LogProcessor(**settings)


def test_settings():
    made = processor(window_size=10, by_epoch=True, custom_cfg=None)
    assert made.by_epoch
    assert made.window_size == 10
    assert made.custom_cfg == []
    processor(
        custom_cfg=[
            {"data_src": "loss_cls", "window_size": 100, "method_name": "min"},
            {"data_src": "loss", "log_name": "loss_min", "method_name": "max"},
            {"data_src": "loss", "log_name": "loss_max", "method_name": "max"},
        ]
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"by_epoch": False, "custom_cfg": [{"data_src": "loss", "window_size": "epoch"}]},
        {"custom_cfg": [{"data_src": "loss", "log_name": "loss_1"}, {"data_src": "loss", "log_name": "loss_1"}]},
        {"custom_cfg": [{"data_src": "loss"}, {"data_src": "loss"}]},
        {"custom_cfg": [{"log_name": "loss"}]},
    ],
)
def test_settings_that_are_refused(settings):
    with pytest.raises(AssertionError):
        processor(**settings)


def test_windows_become_numbers(runner):
    made = processor()
    for given, found in (("epoch", 2), ("global", 11), (100, 100)):
        made.custom_cfg = [{"data_src": "loss_cls", "window_size": given}]
        assert made._parse_windows_size(runner, 1)[0]["window_size"] == found
    made.custom_cfg = [{"data_src": "loss_cls", "window_size": []}]
    with pytest.raises(TypeError):
        made._parse_windows_size(made, runner)


@pytest.mark.parametrize("hierarchy", [True, False])
@pytest.mark.parametrize("mode", ["train", "val", "test"])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_the_line_of_an_iteration(runner, by_epoch, mode, hierarchy):
    made = processor(by_epoch=by_epoch, log_with_hierarchy=hierarchy)
    made._get_max_memory = mock.MagicMock(return_value="100")
    hub = runner.message_hub
    hub._log_scalars.clear()
    hub.update_info("eta", 40)
    logs = {"time": 1.0, "data_time": 1.0, "loss_cls": 1.0}
    if mode == "train":
        logs = {"lr": 0.1, **logs}
    for name, value in logs.items():
        hub.update_scalar(f"{mode}/{name}", value)
    tag, line = made.get_log_after_iter(runner, 1, mode)

    length = len(made._get_cur_loop(runner, mode).dataloader)
    if by_epoch and mode != "test":
        expected = f"Epoch({mode})  [{made._get_epoch(runner, mode)}][ 2/{length}]  "
    elif by_epoch:
        expected = f"Epoch({mode}) [2/{length}]  "
    elif mode == "train":
        expected = f"Iter({mode}) [11/50]  "
    else:
        expected = f"Iter({mode}) [{2:>{len(str(length))}}/{length}]  "
    expected += "lr: 1.0000e-01  " if mode == "train" else "  "
    expected += "eta: 0:00:40  time: 1.0000  data_time: 1.0000  "
    expected += "memory: 100  " if has_gpu() else ""
    expected += "loss_cls: 1.0000" if mode == "train" else ""
    assert line == expected
    assert tag["iter"] == 11
    assert tag[f"{mode}/loss_cls" if hierarchy else "loss_cls"] == 1.0
    assert ("epoch" in tag) == (by_epoch and mode != "test")
    assert ("memory" in tag) == has_gpu()


@pytest.mark.parametrize("hierarchy", [True, False])
@pytest.mark.parametrize("mode", ["val", "test"])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_the_line_of_an_evaluation(runner, by_epoch, mode, hierarchy):
    made = processor(by_epoch=by_epoch, log_with_hierarchy=hierarchy)
    hub = runner.message_hub
    hub._log_scalars.clear()
    for name, value in {"accuracy": 0.9, "data_time": 1.0}.items():
        hub.update_scalar(f"{mode}/{name}", value)
    others = {"recall": {"cat": 1, "dog": 0}, "cm": torch.tensor([1, 2, 3])}
    for name, value in others.items():
        hub.update_info(f"{mode}/{name}", value)
    tag, line = made.get_log_after_epoch(runner, 2, mode)
    many, many_line = made.get_log_after_epoch(runner, 2, mode, with_non_scalar=True)

    front = f"{mode}/" if hierarchy else ""
    length = len(made._get_cur_loop(runner, mode).dataloader)
    place = f"[1][{length}/{length}]" if by_epoch and mode == "val" else f"[{length}/{length}]"
    expected = f"{'Epoch' if by_epoch else 'Iter'}({mode}) {place}    {front}accuracy: 0.9000  "
    expected += f"{front}recall: {others['recall']}  {front}cm: \n{others['cm']}\n  {front}data_time: 1.0000"
    assert line == many_line == expected
    assert list(tag) == [f"{front}{name}" for name in ("accuracy", "data_time")]
    assert list(many) == [f"{front}{name}" for name in ("accuracy", "recall", "cm", "data_time")]


def test_scalars_of_a_stage(runner):
    from mmengine.logging import HistoryBuffer

    time, loss, lr, metric = np.random.default_rng(0).standard_normal((4, 100))
    ones = np.ones(100)
    custom_cfg = [{"data_src": "time", "method_name": "max", "log_name": "time_max"}]
    made = processor(custom_cfg=custom_cfg)
    runner.message_hub._log_scalars = {
        "train/time": HistoryBuffer(time, ones),
        "lr": HistoryBuffer(lr, ones),
        "train/loss_cls": HistoryBuffer(loss, ones),
        "val/metric": HistoryBuffer(metric, ones),
    }
    found = made._collect_scalars([dict(item) for item in custom_cfg], runner, mode="train")
    assert list(found) == ["time", "loss_cls", "time_max"]
    assert found["time"] == time[-10:].mean()
    assert found["time_max"] == time.max()
    assert found["loss_cls"] == loss[-10:].mean()
    found = made._collect_scalars([dict(item) for item in custom_cfg], runner, mode="val")
    assert found == {"metric": metric[-1]}


def test_infos_of_a_stage(runner):
    one, two = np.random.default_rng(0).random(10), torch.tensor(10)
    runner.message_hub._runtime_info = {"test/metric1": one, "test/metric2": two}
    found = processor()._collect_non_scalars(runner, mode="test")
    assert list(found) == ["metric1", "metric2"]
    assert found["metric1"] is one
    assert found["metric2"] is two


def test_memory_of_a_gpu():
    runner = mock.MagicMock(world_size=1, model=torch.nn.Linear(1, 1))
    peak = mock.patch("torch.cuda.max_memory_allocated", mock.MagicMock())
    reset = mock.patch("torch.cuda.reset_peak_memory_stats", mock.MagicMock())
    with peak as asked, reset as begun:
        processor()._get_max_memory(runner)
    asked.assert_called()
    begun.assert_called()


def test_counters(runner):
    made = processor(by_epoch=True)
    assert made._get_iter(runner, 1) == 2
    assert [made._get_epoch(runner, mode) for mode in ("train", "val")] == [2, 1]
    with pytest.raises(ValueError, match="mode"):
        made._get_epoch(runner, "test")
    made.by_epoch = False
    assert made._get_iter(runner, 1) == 11
    for mode in ("train", "val", "test"):
        assert made._get_cur_loop(runner, mode) is getattr(runner, f"{mode}_loop")
        assert made._get_dataloader_size(runner, mode) == len(getattr(runner, f"{mode}_dataloader"))
