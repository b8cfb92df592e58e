from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from trainwright.data import DefaultSampler
from trainwright.engine import Event, Hook, TestLoop, ValLoop
from trainwright.engine.events import Phase, evaluation_events
from trainwright.testing.recorder import StopAt as StopWhen


class Loader(list):
    def __init__(self, batches, dataset=None):
        super().__init__(batches)
        if dataset is not None:
            self.dataset = dataset


class Streamed:
    """A dataset without a length."""


@pytest.mark.parametrize(("cls", "phase"), [(ValLoop, Phase.VAL), (TestLoop, Phase.TEST)])
def test_one_pass(tiny, evaluator, cls, phase):
    class Metrics(Hook):
        def __init__(self):
            self.seen = []

        def after_val_epoch(self, runner, metrics=None):
            self.seen.append(metrics)

        def after_test_epoch(self, runner, metrics=None):
            self.seen.append(metrics)

    metrics = Metrics()
    runner = tiny(metrics)
    assert cls(runner, Loader("abc"), evaluator).run() == {"n": 3.0}
    assert runner.recorder.events == list(evaluation_events(phase, 3))
    assert metrics.seen == [{"n": 3.0}]
    assert runner.model.steps == [("eval", batch) for batch in "abc"]
    assert runner.iter == 0


def test_no_gradients(tiny, evaluator):
    runner = tiny()
    runner.strategy.val_step = lambda batch: [torch.is_grad_enabled()]
    seen = []
    evaluator.process = lambda data_samples, data_batch: seen.extend(data_samples)
    ValLoop(runner, Loader("ab"), evaluator).run()
    assert seen == [False, False]
    assert torch.is_grad_enabled()


def test_autocast_when_asked_for(tiny, evaluator):
    runner = tiny()
    runner.strategy.val_step = lambda batch: [torch.is_autocast_enabled("cpu")]
    for fp16 in (True, False):
        seen = []
        evaluator.process = lambda data_samples, data_batch, seen=seen: seen.extend(data_samples)
        ValLoop(runner, Loader("a"), evaluator, fp16=fp16).run()
        assert seen == [fp16]


def test_a_loop_with_a_run_of_its_own_gets_no_repeated_samples(tiny, evaluator):
    """Rank 1 of 2 has the samples 1, 3 and a repeated 0 of a dataset of five."""

    class OwnRun(ValLoop):
        def run(self):
            for idx, batch in enumerate(self.dataloader):
                self.run_iter(idx, batch)
            return self.evaluator.evaluate(5)

    sampler = DefaultSampler(range(5), shuffle=False, seed=0)
    sampler.rank, sampler.world_size, sampler.num_samples, sampler.total_size = 1, 2, 3, 6
    loader = DataLoader(range(5), batch_size=2, sampler=sampler)
    runner = tiny()
    runner.strategy.val_step = lambda batch: batch.tolist()
    seen = []
    evaluator.process = lambda data_samples, data_batch: seen.append(data_samples)
    loop = OwnRun(runner, loader, evaluator)
    loop.run()
    loop.run()
    assert seen == [[1, 3], [1, 3]]


@pytest.mark.parametrize(
    ("dataset", "size"), [(range(7), 7), (None, 3), (Streamed(), 3)], ids=["sized", "none", "streamed"]
)
def test_the_evaluator_is_told_the_size(tiny, evaluator, dataset, size):
    ValLoop(tiny(), Loader("abc", dataset), evaluator).run()
    assert evaluator.sizes == [size]


@pytest.mark.parametrize("outputs", [None, torch.tensor(1.0)])
def test_outputs_without_a_length_are_the_evaluator_s_affair(tiny, evaluator, outputs):
    runner = tiny()
    runner.strategy.val_step = lambda batch: outputs
    assert ValLoop(runner, Loader("ab", range(2)), evaluator).run() == {"n": 2.0}


def test_a_second_pass_counts_anew(tiny, evaluator):
    loop = ValLoop(tiny(), Loader("abc"), evaluator)
    loop.run()
    loop.run()
    assert evaluator.sizes == [3, 3]


def test_metainfo_goes_to_evaluator_and_visualizer(tiny, evaluator):
    runner = tiny()
    meta = {"classes": ("a",)}
    ValLoop(runner, Loader("a", SimpleNamespace(metainfo=meta)), evaluator)
    assert evaluator.dataset_meta == runner.visualizer.dataset_meta == meta


def test_a_dataset_without_metainfo_is_nothing_to_talk_about(tiny, evaluator, capsys):
    ValLoop(tiny(), Loader("a", range(1)), evaluator)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_an_interrupted_pass_has_no_metrics(tiny, evaluator):
    runner = tiny(StopWhen(Event.AFTER_VAL_ITER, 2))
    assert ValLoop(runner, Loader("abc"), evaluator).run() == {}
    assert runner.recorder.events == [
        Event.BEFORE_VAL,
        Event.BEFORE_VAL_EPOCH,
        *[Event.BEFORE_VAL_ITER, Event.AFTER_VAL_ITER] * 2,
        Event.AFTER_VAL,
    ]
    assert evaluator.sizes == []


def test_a_failing_pass_is_reported_once(tiny, evaluator):
    runner = tiny()

    def fail(batch):
        raise ZeroDivisionError

    runner.strategy.test_step = fail
    with pytest.raises(ZeroDivisionError):
        TestLoop(runner, Loader("a"), evaluator).run()
    assert runner.recorder.events[-1] is Event.ON_EXCEPTION
    assert torch.is_grad_enabled()


def test_a_subclass_may_override_run_iter(tiny, evaluator):
    class Own(ValLoop):
        def run_iter(self, idx, data_batch):
            self.runner.call_hook("before_val_iter", batch_idx=idx, data_batch=data_batch)
            outputs = self.runner.model.step(data_batch)
            self.evaluator.process(data_samples=outputs, data_batch=data_batch)
            self.runner.call_hook("after_val_iter", batch_idx=idx, data_batch=data_batch, outputs=outputs)

    runner = tiny()
    assert Own(runner, Loader("abc"), evaluator).run() == {"n": 3.0}
    assert runner.recorder.events == list(evaluation_events(Phase.VAL, 3))
