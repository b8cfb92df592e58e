"""Metrics: the contract, accuracy, and that no sample counts twice on several ranks."""

from __future__ import annotations

import pytest
import torch

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.data import DefaultSampler
from trainwright.evaluation import Accuracy, BaseMetric, Evaluator
from trainwright.evaluation.accuracy import place_of_label
from trainwright.evaluation.metric import to_cpu
from trainwright.registry import EVALUATOR, METRICS
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.ranks import run_ranks


class Sum(BaseMetric):
    default_prefix = "toy"

    def process(self, data_batch, data_samples):
        self.results += [sample["value"] for sample in data_samples]

    def compute_metrics(self, results):
        return {"sum": sum(results), "n": len(results)}


class Element:
    def __init__(self, **data) -> None:
        self.data = data

    def to_dict(self) -> dict:
        return self.data


# -- the contract ------------------------------------------------------------------------------------------------------
def test_evaluator_takes_configs_objects_or_one():
    METRICS.register_module(name="SumForTest", force=True, module=Sum)
    evaluator = EVALUATOR.build({"type": "Evaluator", "metrics": [{"type": "SumForTest"}, Sum(prefix="other")]})
    evaluator.dataset_meta = {"classes": ("a",)}
    assert [metric.dataset_meta for metric in evaluator.metrics] == [{"classes": ("a",)}] * 2
    evaluator.process([{"value": 1}, Element(value=2)], data_batch={})
    evaluator.process(data_samples=[{"value": 4}])
    assert evaluator.evaluate(3) == {"toy/sum": 7, "toy/n": 3, "other/sum": 7, "other/n": 3}
    assert evaluator.metrics[0].results == []
    assert len(Evaluator(Sum()).metrics) == len(Evaluator({"type": "SumForTest"}).metrics) == 1


def test_prefix(capsys):
    class Bare(Sum):
        default_prefix = None

    bare = Bare()
    assert "The prefix is not set in metric class Bare" in capsys.readouterr().err
    bare.process(None, [{"value": torch.tensor(2)}])
    assert bare.evaluate(1) == {"sum": 2, "n": 1}
    assert Sum(prefix="p").prefix == "p"


def test_an_empty_metric_warns_and_goes_on(capsys):
    assert Sum().evaluate(2) == {"toy/sum": 0, "toy/n": 0}
    assert "Sum has collected no result: process() must append to self.results" in capsys.readouterr().err


def test_unusable_metrics():
    class NoDict(Sum):
        def compute_metrics(self, results):
            return 0.5

    with pytest.raises(ConfigTypeError, match="NoDict.compute_metrics must return a dict.*got float: 0.5"):
        NoDict().evaluate(1)
    with pytest.raises(ConfigError, match="with the same metric name toy/sum: the second is of Sum.*prefix"):
        Evaluator([Sum(), Sum()]).evaluate(0)
    with pytest.raises(ConfigTypeError, match="a metric must be a BaseMetric, or a dict.*got str: 'Accuracy'"):
        Evaluator(["Accuracy"])
    with pytest.raises(ConfigError, match="collect_device must be 'cpu' or 'gpu', got 'tpu'"):
        Sum(collect_device="tpu")
    with pytest.raises(ConfigError, match="collect_dir='x' needs collect_device='cpu', got 'gpu'"):
        Sum(collect_device="gpu", collect_dir="x")
    with pytest.raises(ConfigTypeError, match=r"gave no predictions \(None\): forward\(mode='predict'\)"):
        Evaluator(Sum()).process(None)


def test_to_cpu_keeps_the_structure():
    data = {"a": [torch.ones(1), (torch.ones(1), "s")], "b": 3}
    assert to_cpu(data) == data
    assert isinstance(to_cpu(data)["a"][1], tuple)


# -- accuracy ----------------------------------------------------------------------------------------------------------
SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
LABELS = torch.tensor([1, 1, 0, 0])


def accuracy(samples, batch=None, size=4, **kwargs) -> dict:
    evaluator = Evaluator(Accuracy(**kwargs))
    evaluator.process(samples, batch)
    return evaluator.evaluate(size)


def test_batches_and_single_samples_and_labels_in_the_batch():
    expected = {"accuracy/top1": 50.0, "accuracy/top2": 75.0}
    singles = [{"scores": score, "label": label} for score, label in zip(SCORES, LABELS, strict=True)]
    plain = [{"scores": score, "label": int(label)} for score, label in zip(SCORES, LABELS, strict=True)]
    shaped = [{"scores": score, "label": label[None]} for score, label in zip(SCORES, LABELS, strict=True)]
    for samples in ({"scores": SCORES, "label": LABELS}, singles, plain, shaped, [Element(**s) for s in singles]):
        assert accuracy(samples, topk=(1, 2)) == expected
    for batch in (
        {"label": LABELS},
        {"label": list(LABELS)},
        {"label": LABELS.tolist()},
        [{"label": i} for i in LABELS],
    ):
        assert accuracy({"scores": SCORES}, batch, topk=(1, 2)) == expected
        assert accuracy([{"scores": score} for score in SCORES], batch, topk=(1, 2)) == expected


def test_class_indices_and_other_keys():
    pred = SCORES.argmax(1)
    assert accuracy({"pred": pred, "label": LABELS}) == {"accuracy/top1": 50.0}
    assert accuracy({"p": pred, "y": LABELS}, pred_key="p", label_key="y", prefix="a") == {"a/top1": 50.0}
    assert accuracy({"logits": SCORES, "label": LABELS}, score_key="logits") == {"accuracy/top1": 50.0}


def test_places_agree_with_argmax_and_nan_is_wrong():
    scores = torch.randint(0, 4, (200, 5), generator=torch.Generator().manual_seed(0)).float()
    labels = torch.randint(0, 5, (200,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(place_of_label(scores, labels) == 0, scores.argmax(1) == labels)
    ranks = scores.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    assert torch.equal(place_of_label(scores, labels).long(), ranks.gather(1, labels[:, None])[:, 0])
    assert place_of_label(torch.full((1, 3), float("nan")), torch.tensor([1])).tolist() == [2]


def test_the_host_reads_once_in_the_end():
    evaluator = Evaluator(Accuracy(topk=(1, 2)))
    with count_host_reads() as reads:
        for _ in range(5):
            evaluator.process({"scores": SCORES, "label": LABELS})
    assert reads.total == 0
    with count_host_reads() as reads:
        evaluator.evaluate(20)
    assert reads.total == 1


@pytest.mark.parametrize(
    ("samples", "options", "error", "message"),
    [
        ([torch.ones(3)], {}, ConfigTypeError, "reads predictions as dicts, got Tensor; return dicts"),
        (
            {"label": LABELS, "out": 1},
            {},
            ConfigError,
            r"needs 'scores' or 'pred' in the predictions.*\['label', 'out'\]",
        ),
        ({"pred": LABELS, "label": LABELS}, {"topk": 5}, ConfigError, r"topk=\(5,\) needs 'scores' in the predictions"),
        ({"scores": SCORES}, {}, ConfigError, "found no 'label' in the predictions.*nor in the data batch; return"),
        ({"scores": SCORES, "label": LABELS[:2]}, {}, DataError, "4 predictions and 2 labels for one batch"),
        ({"scores": SCORES, "label": LABELS}, {"topk": 4}, ConfigError, "more classes than the 3 with scores"),
        (
            {"scores": SCORES, "label": LABELS},
            {"size": 5},
            DataError,
            "4 predictions for a dataset of 5 samples.*drop_last",
        ),
        ({"scores": SCORES, "label": LABELS}, {"size": 3}, DataError, "4 predictions for a dataset of 3 samples"),
        ([], {"size": 0}, DataError, "got no prediction: the validation loader gave no batch"),
    ],
)
def test_unusable_predictions(samples, options, error, message):
    with pytest.raises(error, match=message):
        accuracy(samples, **options)


@pytest.mark.parametrize("topk", [0, (), (1, 0), ("1",)])
def test_unusable_topk(topk):
    with pytest.raises(ConfigError, match="topk must be an integer of at least 1"):
        Accuracy(topk=topk)


# -- ranks -------------------------------------------------------------------------------------------------------------
def _evaluate_shard(size: int, round_up: bool, tmpdir: str | None) -> tuple[dict, dict]:
    # Sample i is classified correctly when i % 3 == 0; the padding of round_up repeats correct samples.
    evaluator = Evaluator([Accuracy(collect_dir=tmpdir), Sum(collect_dir=tmpdir)])
    indices = list(DefaultSampler(range(size), shuffle=False, round_up=round_up))
    for at in range(0, len(indices), 3):
        batch = torch.tensor(indices[at : at + 3])
        pred = (batch % 3 == 0).long()
        evaluator.metrics[0].process(None, [{"pred": pred, "label": torch.ones_like(pred)}])
        evaluator.metrics[1].process(None, [{"value": int(i)} for i in batch])
    return evaluator.evaluate(size)


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize(("round_up", "through_files"), [(True, False), (False, False), (True, True)])
def test_no_sample_counts_twice(world_size, round_up, through_files, tmp_path):
    size = 10
    expected = {"accuracy/top1": 40.0, "toy/sum": sum(range(size)), "toy/n": size}
    tmpdir = str(tmp_path) if through_files else None
    for metrics in run_ranks(world_size, _evaluate_shard, size, round_up, tmpdir):
        assert metrics == expected


class FailsInTheEnd(Sum):
    def compute_metrics(self, results):
        raise ZeroDivisionError("no boxes")


def _fail() -> str:
    try:
        FailsInTheEnd().evaluate(2)
    except (ZeroDivisionError, DataError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_an_error_on_rank_0_is_raised_on_all():
    first, second = run_ranks(2, _fail)
    assert first == "ZeroDivisionError: no boxes"
    assert second == "DataError: FailsInTheEnd failed on rank 0: ZeroDivisionError: no boxes"
