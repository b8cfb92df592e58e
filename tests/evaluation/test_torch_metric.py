"""Metrics of torchmetrics: fed, named, bounded in memory, refused with a reason."""

import sys

import pytest
import torch
from torch.nn import functional as F

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError, MissingExtraError
from trainwright.evaluation import BaseMetric, Evaluator, TorchMetric
from trainwright.evaluation.names import names_of
from trainwright.registry import METRICS

torchmetrics = pytest.importorskip("torchmetrics")
ACCURACY = {"type": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 3, "average": "micro"}
SCORES = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
LABELS = torch.tensor([1, 1, 0, 0])


def value_of(metric, samples, batch=None, size=4):
    evaluator = Evaluator(metric)
    evaluator.process(samples, batch)
    return evaluator.evaluate(size)


@pytest.mark.parametrize(
    ("samples", "batch"),
    [
        ({"scores": SCORES, "label": LABELS}, None),
        ([{"scores": SCORES, "label": LABELS}], None),
        ([{"scores": score, "label": label} for score, label in zip(SCORES, LABELS, strict=True)], None),
        ([{"scores": score, "label": int(label)} for score, label in zip(SCORES, LABELS, strict=True)], None),
        ({"scores": list(SCORES), "label": LABELS.tolist()}, None),
        ([{"scores": score} for score in SCORES], {"label": LABELS}),
        ([{"scores": score} for score in SCORES], {"label": LABELS.tolist()}),
        ([{"scores": score} for score in SCORES], [{"label": label} for label in LABELS]),
        ({"scores": SCORES}, {"label": LABELS}),
    ],
)
def test_predictions_of_every_form(samples, batch):
    batched = True if batch is not None and isinstance(samples, dict) else None
    metric = {"type": "TorchMetric", "metric": ACCURACY, "pred_key": "scores", "batched": batched}
    assert value_of(metric, samples, batch) == {"MulticlassAccuracy": 0.5}


def test_it_is_torchmetrics_own_value():
    ours = TorchMetric({**ACCURACY, "average": "macro"}, pred_key="scores")
    theirs = torchmetrics.classification.MulticlassAccuracy(num_classes=3, average="macro")
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):  # and a second pass begins anew
        theirs.reset()
        for _ in range(3):
            scores, labels = torch.rand(7, 3, generator=generator), torch.randint(0, 3, (7,), generator=generator)
            ours.process(None, [{"scores": scores, "label": labels}])
            theirs.update(scores, labels)
        assert ours.evaluate(21) == {"MulticlassAccuracy": theirs.compute().item()}


def test_one_sample_in_a_batch():
    metric = TorchMetric(ACCURACY, pred_key="scores")
    for score, label in zip(SCORES, LABELS, strict=True):
        metric.process(None, [{"scores": score, "label": int(label)}])
    assert metric.evaluate(4) == {"MulticlassAccuracy": 0.5}


def test_maps_of_classes_one_a_sample():
    maps, truth = torch.randint(0, 3, (3, 4, 5)), torch.randint(0, 3, (3, 4, 5))
    expected = (maps == truth).float().mean().item()
    for batched, samples in (
        (None, [{"pred": one, "label": other} for one, other in zip(maps, truth, strict=True)]),
        (None, {"pred": maps, "label": truth}),
        (True, {"pred": maps, "label": truth}),
    ):
        metric = TorchMetric(ACCURACY, batched=batched)
        assert value_of(metric, samples, size=3) == {"MulticlassAccuracy": pytest.approx(expected)}
    single = TorchMetric(ACCURACY, batched=False)
    for one, other in zip(maps, truth, strict=True):
        single.process(None, [{"pred": one, "label": other}])
    assert single.evaluate(3) == {"MulticlassAccuracy": pytest.approx(expected)}
    guessed = TorchMetric(ACCURACY)
    for one, other in zip(maps, truth, strict=True):
        guessed.process(None, [{"pred": one, "label": other}])
    with pytest.raises(DataError, match="counted 12 predictions for a dataset of 3 samples.*batched=False if each"):
        guessed.evaluate(3)


def test_no_label_and_further_arguments():
    assert value_of(TorchMetric(torchmetrics.MeanMetric(), "x", None), {"x": torch.tensor([1.0, 3.0])}, size=2) == {
        "MeanMetric": 2.0
    }
    weighted = TorchMetric(torchmetrics.MeanMetric(), "x", None, more_keys={"weight": "w"}, prefix="p", name="mean")
    assert value_of(weighted, [{"x": 1.0, "w": 1.0}, {"x": 3.0, "w": 3.0}], size=2) == {"p/mean": 2.5}


def test_texts_stay_lists():
    metric = TorchMetric({"type": "torchmetrics.text.WordErrorRate"})
    samples = [{"pred": "a b c", "label": "a b d"}, {"pred": "x", "label": "x"}]
    assert value_of(metric, samples, size=2) == {"WordErrorRate": 0.25}
    assert value_of(metric, {"pred": ["a b c", "x"], "label": ["a b d", "x"]}, size=2) == {"WordErrorRate": 0.25}


def test_results_with_names_and_with_several_numbers():
    f1 = torchmetrics.classification.MulticlassF1Score(num_classes=3)
    both = torchmetrics.MetricCollection({"acc": METRICS.build(ACCURACY), "f1": f1})
    found = value_of(TorchMetric(both, pred_key="scores", prefix="c"), {"scores": SCORES, "label": LABELS})
    assert list(found) == ["c/acc", "c/f1"]
    assert found["c/acc"] == 0.5
    by_class = TorchMetric({**ACCURACY, "average": None}, pred_key="scores")
    (values,) = value_of(by_class, {"scores": SCORES, "label": LABELS}).values()
    assert values == [0.5, 0.5, 0.0]


def test_a_metric_of_another_is_taken_apart():
    two = torchmetrics.MeanMetric() + torchmetrics.MeanMetric()
    assert value_of(TorchMetric(two, "x", None), {"x": torch.tensor([1.0, 3.0])}, size=2) == {
        "CompositionalMetric": 4.0
    }


def test_the_state_alone_is_kept():
    metric = TorchMetric(ACCURACY, pred_key="scores")
    sizes = []
    for _ in range(3):
        for _ in range(10):
            metric.process(None, [{"scores": SCORES.repeat(50, 1), "label": LABELS.repeat(50)}])
        sizes.append(sum(value.numel() for value in metric.metric.metric_state.values()))
    assert sizes[0] == sizes[1] == sizes[2] <= 12
    assert metric.results == []
    assert metric.evaluate(30 * 200) == {"MulticlassAccuracy": 0.5}


def test_a_built_metric_is_not_shared():
    given = METRICS.build(ACCURACY)
    first, second = TorchMetric(given, "scores"), TorchMetric(given, "scores")
    first.process(None, [{"scores": SCORES, "label": LABELS}])
    assert not given.update_called
    with pytest.raises(DataError, match="counted 0 predictions for a dataset of 4 samples"):
        second.evaluate(4)


# -- names before it exists --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {"metric": ACCURACY},
        {"metric": ACCURACY, "prefix": "p"},
        {"metric": ACCURACY, "name": "top1"},
        {"metric": {"type": torchmetrics.classification.MulticlassAccuracy, "num_classes": 3}},
        {"metric": torchmetrics.classification.MulticlassAccuracy(num_classes=3)},
    ],
)
def test_it_says_its_names(settings):
    (name,) = names_of(TorchMetric, BaseMetric, settings).names
    metric = TorchMetric(**settings, pred_key="scores")
    assert list(value_of(metric, {"scores": SCORES, "label": LABELS})) == [name]


@pytest.mark.parametrize("metric", [{"type": "torchmetrics.MetricCollection"}, {"type": "no.such"}, 3, {}])
def test_names_that_nobody_can_know(metric):
    assert TorchMetric.result_names(metric=metric) is None


# -- refused -----------------------------------------------------------------------------------------------------------
def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    message = r"TorchMetric needs the package 'torchmetrics', which is not installed.*'trainwright\[metrics\]'"
    with pytest.raises(MissingExtraError, match=message):
        TorchMetric(ACCURACY)


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        ({"num_classes": 3}, ConfigError, "metric has no key 'type', got .*MulticlassAccuracy"),
        ({"type": "Accuracy"}, ConfigTypeError, "must be a metric of torchmetrics or a config of one, got Accuracy"),
        (F.cross_entropy, ConfigTypeError, "must be a metric of torchmetrics or a config of one, got function"),
    ],
)
def test_what_is_no_metric_of_torchmetrics(metric, error, message):
    with pytest.raises(error, match=message):
        TorchMetric(metric)


def test_predictions_that_it_cannot_read():
    metric = TorchMetric(ACCURACY, pred_key="scores")
    with pytest.raises(ConfigTypeError, match="TorchMetric reads predictions as dicts, got Tensor; return dicts with"):
        metric.process(None, [SCORES])
    with pytest.raises(
        ConfigError, match=r"found no 'scores' in the predictions \(keys: \['label'\]\) nor in the data"
    ):
        metric.process({"x": 1}, [{"label": LABELS}])
    metric.process(None, [])
    with pytest.raises(DataError, match=r"TorchMetric\(MulticlassAccuracy\) counted 0 predictions for a dataset of 4"):
        metric.evaluate(4)
