"""Evaluator and metrics: several at once, their names, predictions from a file."""

import pickle

import pytest
import torch

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture
def hits():
    """A metric that counts right predictions, or gives ``fixed``; registered as HitsOfEvaluators."""
    from mmengine.evaluator import BaseMetric
    from mmengine.registry import METRICS

    class HitsOfEvaluators(BaseMetric):
        def __init__(self, fixed=None, **settings):
            super().__init__(**settings)
            self.fixed = fixed

        def process(self, data_batch, data_samples):
            self.results += [sample["pred"] == sample["label"] for sample in data_samples]

        def compute_metrics(self, results):
            return dict(self.fixed or {"accuracy": sum(results) / len(results), "size": len(results)})

    METRICS.register_module(module=HitsOfEvaluators, force=True)
    yield HitsOfEvaluators
    METRICS.module_dict.pop("HitsOfEvaluators")


HITS, FIXED = {"type": "HitsOfEvaluators"}, {"type": "HitsOfEvaluators", "fixed": {"mAP": 0.0}}


def _feed(evaluator, pred, label, size=10, batch_size=4):
    from mmengine.structures import BaseDataElement

    for start in range(0, size, batch_size):
        count = min(batch_size, size - start)
        samples = [BaseDataElement(pred=pred, label=label) for _ in range(count)]
        evaluator.process(data_samples=samples, data_batch={"inputs": [None] * count})
    return evaluator.evaluate(size=size)


def test_one_and_several(hits):
    from mmengine.evaluator import Evaluator

    evaluator = Evaluator(HITS)
    assert _feed(evaluator, 1, 1) == {"accuracy": 1.0, "size": 10}
    assert _feed(evaluator, 1, 0) == {"accuracy": 0.0, "size": 10}  # nothing is left of the first time
    assert _feed(Evaluator([HITS, FIXED]), 1, 1) == {"accuracy": 1.0, "size": 10, "mAP": 0.0}
    with pytest.raises(ValueError, match="There are multiple evaluation results with the same metric name"):
        _feed(Evaluator([FIXED, FIXED]), 1, 1)


def test_settings_of_metrics(hits, caplog):
    from mmengine.evaluator import Evaluator
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        evaluator = Evaluator([{**HITS, "collect_device": "gpu"}, {**HITS, "prefix": "b"}])
        assert [metric.collect_device for metric in evaluator.metrics] == ["gpu", "cpu"]
        assert [metric.prefix for metric in evaluator.metrics] == [None, "b"]
        assert "The prefix is not set in metric class HitsOfEvaluators." in caplog.text
        caplog.clear()
        assert hits(prefix="b", fixed={"a": 1}).evaluate(0) == {"b/a": 1}
        assert "HitsOfEvaluators" in caplog.text  # without a result
    finally:
        logger.removeHandler(caplog.handler)
    evaluator.dataset_meta = {"classes": ("cat",)}
    assert [metric.dataset_meta for metric in evaluator.metrics] == [{"classes": ("cat",)}] * 2
    with pytest.raises(ValueError, match="only be configured when|collect_dir"):
        hits(collect_device="gpu", collect_dir="folder")


def test_names_of_values():
    from mmengine.evaluator import get_metric_value

    metrics = {"prefix_0/metric_0": 0, "prefix_1/metric_0": 1, "prefix_1/metric_1": 2, "nonprefixed": 3}
    for name, value in (("prefix_0/metric_0", 0), ("prefix_1/metric_0", 1), ("metric_1", 2), ("nonprefixed", 3)):
        assert get_metric_value(name, metrics) == value
    for name in ("prefix_0/metric_1", "prefix_2/metric", "metric_2"):
        with pytest.raises(ValueError, match="can not match any metric"):
            get_metric_value(name, metrics)
    with pytest.raises(ValueError, match="matches multiple metrics"):
        get_metric_value("metric_0", metrics)


def test_predictions_that_are_there(hits):
    from mmengine.evaluator import Evaluator
    from mmengine.structures import BaseDataElement

    data = [{"inputs": torch.zeros(2), "data_sample": BaseDataElement(label=1)} for _ in range(10)]
    predictions = [BaseDataElement(pred=0, label=1) for _ in range(10)]
    evaluator = Evaluator(HITS)
    for settings in ({}, {"data": data}, {"data": data, "chunk_size": 3}):
        assert evaluator.offline_evaluate(predictions, **settings) == {"accuracy": 0.0, "size": 10}
    with pytest.raises(AssertionError):
        evaluator.offline_evaluate(predictions, data[:3])


def test_predictions_into_a_file(tmp_path):
    from mmengine.evaluator import DumpResults

    with pytest.raises(ValueError, match="The output file must be a pkl file."):
        DumpResults(out_file_path="results.json")
    metric = DumpResults(out_file_path=str(tmp_path / "results.pkl"))
    metric.process(None, [{"data": (torch.tensor([1, 2]), torch.tensor([3]))}])
    assert metric.results[0]["data"][0].device == torch.device("cpu")
    assert metric.compute_metrics(metric.results) == {}
    found = pickle.loads((tmp_path / "results.pkl").read_bytes())
    assert found[0]["data"][1].tolist() == [3]
