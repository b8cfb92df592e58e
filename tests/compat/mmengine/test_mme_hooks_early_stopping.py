"""EarlyStoppingHook, called by hand and in a run."""

import math
from unittest import mock

import pytest

pytestmark = pytest.mark.usefixtures("mmengine")


def _runner():
    runner = mock.Mock()
    runner.train_loop = mock.Mock()
    runner.train_loop.stop_training = False
    return runner


def test_the_rule_follows_from_the_name():
    from mmengine.hooks import EarlyStoppingHook

    for name in ("acc", "ACC", "mAP_50", "accuracy/top1"):
        assert EarlyStoppingHook(monitor=name).rule == "greater"
    for name in ("loss", "Loss", "ABC_LOSS"):
        assert EarlyStoppingHook(monitor=name).rule == "less"
    with pytest.raises(ValueError, match="rule"):
        EarlyStoppingHook(monitor="recall")
    assert EarlyStoppingHook(monitor="recall", rule="less").rule == "less"
    with pytest.raises(ValueError, match="ABC"):
        EarlyStoppingHook(monitor="acc", rule="ABC")


def test_a_loop_that_cannot_be_stopped_is_refused():
    from mmengine.hooks import EarlyStoppingHook

    runner = mock.Mock()
    runner.train_loop = object()
    with pytest.raises(AssertionError, match="stop_training"):
        EarlyStoppingHook(monitor="accuracy/top1", rule="greater").before_run(runner)


def test_a_metric_that_is_not_there():
    from mmengine.hooks import EarlyStoppingHook

    runner, metrics = _runner(), {"accuracy/top1": 0.5, "loss": 0.23}
    with pytest.raises(RuntimeError):
        EarlyStoppingHook(monitor="acc", rule="greater", strict=True).after_val_epoch(runner, metrics)
    with pytest.warns(UserWarning, match="Skip early stopping process since the evaluation results"):
        EarlyStoppingHook(monitor="acc", rule="greater", strict=False).after_val_epoch(runner, metrics)
    assert runner.train_loop.stop_training is False


def test_infinite_values_and_thresholds_stop():
    from mmengine.hooks import EarlyStoppingHook

    runner = _runner()
    hook = EarlyStoppingHook(monitor="accuracy/top1", rule="greater", check_finite=True)
    hook.after_val_epoch(runner, {"accuracy/top1": math.inf})
    assert runner.train_loop.stop_training

    runner = _runner()
    hook = EarlyStoppingHook(monitor="accuracy/top1", rule="greater", check_finite=False)
    hook.after_val_epoch(runner, {"accuracy/top1": math.inf})
    assert not runner.train_loop.stop_training

    for rule, values in (("greater", (0.6, 0.71)), ("less", (0.9, 0.65))):
        runner = _runner()
        hook = EarlyStoppingHook(monitor="m", rule=rule, stopping_threshold=0.7)
        hook.after_val_epoch(runner, {"m": values[0]})
        assert not runner.train_loop.stop_training
        hook.after_val_epoch(runner, {"m": values[1]})
        assert runner.train_loop.stop_training


@pytest.mark.parametrize("rule", ["greater", "less"])
def test_patience(rule):
    from mmengine.hooks import EarlyStoppingHook

    runner = _runner()
    hook = EarlyStoppingHook(monitor="m", rule=rule, min_delta=0.1, patience=3)
    assert hook.wait_count == 0
    assert hook.best_score == (-math.inf if rule == "greater" else math.inf)
    for n, value in enumerate((0.5, 0.5, 0.5, 0.5)):
        assert not runner.train_loop.stop_training
        assert hook.wait_count == max(n - 1, 0) or n == 0
        hook.after_val_epoch(runner, {"m": value})
    assert runner.train_loop.stop_training
    assert hook.wait_count == 3
    assert hook.best_score == 0.5


def test_a_run_ends_early():
    import torch
    from mmengine.evaluator import BaseMetric, Evaluator
    from mmengine.model import BaseModel
    from mmengine.optim import OptimWrapper
    from mmengine.runner import Runner
    from mmengine.testing import RunnerTestCase
    from torch import nn

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, inputs, data_sample, mode="tensor"):
            inputs, labels = torch.stack(inputs), torch.stack(data_sample)
            outputs = self.linear(inputs)
            return {"loss": (labels - outputs).sum()} if mode == "loss" else outputs

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return {"inputs": torch.ones(2), "data_sample": torch.ones(1)}

    class Metric(BaseMetric):
        default_prefix = "test"

        def __init__(self, length):
            super().__init__()
            self.length, self.best_idx, self.cur_idx = length, length // 2, 0
            self.vals = [90, 91, 92, 88, 89, 90] * 2

        def process(self, *args, **kwargs):
            self.results.append(0)

        def compute_metrics(self, *args, **kwargs):
            self.cur_idx += 1
            return {"acc": self.vals[self.cur_idx - 1]}

    class Case(RunnerTestCase):
        def test_it(self):
            model, loader = Model(), {"sampler": {"type": "DefaultSampler", "shuffle": False}, "batch_size": 2}
            runner = Runner(
                model=model,
                work_dir=self.temp_dir.name,
                train_dataloader={"dataset": Data(), "num_workers": 0, **loader},
                val_dataloader={"dataset": Data(), "num_workers": 0, **loader},
                val_evaluator=Evaluator([Metric(10)]),
                optim_wrapper=OptimWrapper(torch.optim.Adam(model.parameters())),
                train_cfg={"by_epoch": True, "max_epochs": 10, "val_interval": 1},
                val_cfg={},
                custom_hooks=[
                    {
                        "type": "EarlyStoppingHook",
                        "monitor": "test/acc",
                        "rule": "greater",
                        "min_delta": 1,
                        "patience": 3,
                    }
                ],
                experiment_name=self.experiment_name,
            )
            runner.train()
            assert runner.epoch == 6

    case = Case("test_it")
    case.setUp()
    try:
        case.test_it()
    finally:
        case.tearDown()
