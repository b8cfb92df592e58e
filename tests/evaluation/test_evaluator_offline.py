"""Predictions that exist already: evaluated, dumped, and single metrics looked up."""

import pickle

import pytest
import torch

from trainwright.base.errors import ConfigError, DataError
from trainwright.evaluation import BaseMetric, DumpResults, Evaluator, get_metric_value
from trainwright.evaluation.metric import _to_cpu
from trainwright.testing.ranks import run_ranks


class Kept(BaseMetric):
    default_prefix = "kept"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = []

    def process(self, data_batch, data_samples):
        self.calls.append((data_batch, list(data_samples)))
        self.results += [sample["x"] for sample in data_samples]

    def compute_metrics(self, results):
        return {"sum": sum(results), "n": len(results)}


@pytest.mark.parametrize(("chunk_size", "chunks"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (9, [5])])
def test_offline_evaluation_in_chunks(chunk_size, chunks):
    metric = Kept()
    samples = [{"x": n} for n in range(5)]
    data = [{"inputs": n, "name": str(n)} for n in range(5)]
    assert Evaluator(metric).offline_evaluate(samples, data, chunk_size) == {"kept/sum": 10, "kept/n": 5}
    assert [len(given) for _, given in metric.calls] == chunks
    assert [len(batch["inputs"]) for batch, _ in metric.calls] == chunks
    assert [name for batch, _ in metric.calls for name in batch["name"]] == list("01234")


def test_offline_evaluation_without_data():
    metric = Kept()
    assert Evaluator(metric).offline_evaluate([{"x": 1}, {"x": 2}], chunk_size=2) == {"kept/sum": 3, "kept/n": 2}
    assert metric.calls == [(None, [{"x": 1}, {"x": 2}])]


def test_what_offline_evaluation_refuses():
    with pytest.raises(DataError, match="got 2 predictions and 3 samples of data; it needs one prediction of each"):
        Evaluator(Kept()).offline_evaluate([{"x": 1}] * 2, [{}] * 3)
    for size in (0, 1.5, True):
        with pytest.raises(ConfigError, match=f"chunk_size must be an integer of at least 1, got {size}"):
            Evaluator(Kept()).offline_evaluate([], chunk_size=size)


def test_discarding_begins_anew():
    evaluator = Evaluator([Kept(), Kept(prefix="other")])
    evaluator.process([{"x": 5}])
    evaluator.discard()
    evaluator.process([{"x": 1}])
    assert evaluator.evaluate(1) == {"kept/sum": 1, "kept/n": 1, "other/sum": 1, "other/n": 1}


# -- dumped ------------------------------------------------------------------------------------------------------------
def test_predictions_are_dumped_in_dataset_order_on_the_cpu(tmp_path):
    path = tmp_path / "new" / "out.pkl"
    evaluator = Evaluator([DumpResults(str(path)), Kept()])
    evaluator.process([{"x": 1, "scores": torch.ones(2)}])
    evaluator.process([{"x": 2, "box": (torch.zeros(1), "a")}])
    assert evaluator.evaluate(2) == {"kept/sum": 3, "kept/n": 2}
    found = pickle.loads(path.read_bytes())
    assert repr(found) == repr([{"x": 1, "scores": torch.ones(2)}, {"x": 2, "box": (torch.zeros(1), "a")}])
    assert [file.name for file in path.parent.iterdir()] == ["out.pkl"]


def _dump(path):
    evaluator = Evaluator(DumpResults(path))
    rank = torch.distributed.get_rank()
    evaluator.process([{"x": n} for n in range(rank, 5, 2)])
    return evaluator.evaluate(5)


def test_dumped_from_several_ranks(tmp_path):
    path = tmp_path / "out.pickle"
    assert run_ranks(2, _dump, str(path)) == [{}, {}]
    assert pickle.loads(path.read_bytes()) == [{"x": n} for n in range(5)]


@pytest.mark.parametrize("path", ["out.json", "out", "out.pkl.gz"])
def test_a_dump_is_a_pickle(path):
    with pytest.raises(ConfigError, match=f"must be a pkl file. DumpResults got out_file_path='{path}'"):
        DumpResults(path)


def test_dumping_gives_no_names():
    assert DumpResults.result_names(out_file_path="a.pkl") == []


def test_the_name_that_other_packages_import():
    assert _to_cpu([{"a": torch.ones(1)}, (2, "b")]) == [{"a": torch.ones(1)}, (2, "b")]


# -- looked up ---------------------------------------------------------------------------------------------------------
METRICS = {"coco/bbox_mAP": 0.5, "coco/AP50": 0.7, "voc/AP50": 0.8}


def test_a_metric_by_its_whole_name_or_the_last_part():
    assert get_metric_value("coco/AP50", METRICS) == 0.7
    assert get_metric_value("bbox_mAP", METRICS) == 0.5


@pytest.mark.parametrize(
    ("indicator", "message"),
    [
        ("coco/AP5", "'coco/AP5' can not match any metric in coco/bbox_mAP, .*Did you mean 'coco/AP50'"),
        ("bbox_mAp", "'bbox_mAp' can not match any metric in coco/bbox_mAP, .*Did you mean 'bbox_mAP'"),
        ("AP50", "'AP50' matches multiple metrics: coco/AP50, voc/AP50. Give the whole name"),
    ],
)
def test_a_metric_that_is_not_there_or_not_alone(indicator, message):
    with pytest.raises(ConfigError, match=message):
        get_metric_value(indicator, METRICS)
