"""The names that a metric says it will give are those that it gives."""

from __future__ import annotations

import pytest
import torch

from trainwright.evaluation import Accuracy, BaseMetric
from trainwright.evaluation.names import Names, names_of, prefix_of


class Literal(BaseMetric):
    """Names written out in two ways."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        def helper():
            return {"not": 1}

        if not results:
            return dict(loss=0.0, acc=helper()["not"])  # noqa: C408 - the other way to write it
        return {"loss": 1.0, "acc": 2.0}


class Prefixed(Literal):
    default_prefix = "own"


class Computed(Literal):
    default_prefix = "own"

    def compute_metrics(self, results):
        return {f"top{k}": k for k in (1, 2)}


class Partly(Literal):
    def compute_metrics(self, results):
        if results:
            return {"a": 1}
        return dict(self.other())

    def other(self):
        return {"b": 1}


class Spread(Literal):
    def compute_metrics(self, results):
        return {**{"a": 1}, "b": 2}


class Fixed(Prefixed):
    def __init__(self, **kwargs):
        super().__init__(prefix="fixed", **kwargs)


class Given(Prefixed):
    def __init__(self, k, prefix="given", **kwargs):
        super().__init__(prefix=prefix, **kwargs)


class ByPlace(Prefixed):
    def __init__(self, prefix=None):
        super().__init__("cpu", prefix)


class Rest(Prefixed):
    def __init__(self, k=1, **kwargs):
        super().__init__(**kwargs)


class Dropped(Prefixed):
    def __init__(self, prefix=None):
        super().__init__()


class Assigned(Prefixed):
    def __init__(self, prefix=None):
        super().__init__(prefix=prefix)
        self.prefix = "late"


class Mixed(Prefixed):
    def __init__(self, prefix="a"):
        super().__init__(prefix=prefix + "b")


class Evaluating(Prefixed):
    def evaluate(self, size):
        return {"anything": 1}


class Twice(Given):
    def __init__(self, **kwargs):
        super().__init__(3, **kwargs)


class Deciding(Accuracy):
    """Names of its own where Accuracy says others."""

    def compute_metrics(self, results):
        return {"mine": 1.0}


class Settled(Accuracy):
    def __init__(self):
        super().__init__(topk=(1, 2))


KNOWN = [
    (Literal, {}),
    (Literal, {"prefix": "p"}),
    (Prefixed, {}),
    (Prefixed, {"prefix": "p"}),
    (Fixed, {}),
    (Given, {"k": 1}),
    (Given, {"k": 1, "prefix": "p"}),
    (Given, {"k": 1, "prefix": None}),
    (ByPlace, {}),
    (ByPlace, {"prefix": "p"}),
    (Rest, {"k": 2}),
    (Rest, {"prefix": "p"}),
    (Dropped, {"prefix": "p"}),
    (Twice, {}),
    (Twice, {"prefix": "p"}),
]


def given_by(metric):
    metric.process(None, [{"pred": torch.tensor([0]), "label": torch.tensor([0])}])
    return list(metric.evaluate(1))


@pytest.mark.parametrize(("kind", "settings"), KNOWN)
def test_names_read_from_the_source_are_those_that_are_given(kind, settings):
    names = names_of(kind, BaseMetric, settings)
    assert sorted(names.names) == sorted(given_by(kind(**settings)))
    assert kind.result_names(**settings) == names.names
    assert names.is_known
    assert names.has(names.names[0])
    assert not names.has("other")


@pytest.mark.parametrize("settings", [{}, {"topk": 3}, {"topk": [1, 3]}, {"topk": (1,), "prefix": "p"}])
def test_accuracy_says_its_names(settings):
    scores = torch.rand(4, 5)
    metric = Accuracy(**settings)
    metric.process(None, [{"scores": scores, "label": torch.arange(4)}])
    assert list(metric.evaluate(4)) == Accuracy.result_names(**settings)
    assert names_of(Accuracy, BaseMetric, settings).names == Accuracy.result_names(**settings)


@pytest.mark.parametrize("kind", [Computed, Partly, Spread])
def test_names_that_are_computed_are_not_known(kind):
    assert kind.result_names() is None
    assert names_of(kind, BaseMetric, {}).names is None


def test_where_only_the_prefix_is_known():
    names = names_of(Computed, BaseMetric, {})
    assert names == Names(None, "own")
    assert names.is_known
    assert names.has("own/whatever")
    assert not names.has("other/top1")
    assert not names_of(Partly, BaseMetric, {}).is_known
    assert names_of(Partly, BaseMetric, {}).has("anything")


@pytest.mark.parametrize("kind", [Assigned, Mixed, Evaluating])
def test_where_nothing_is_known(kind):
    assert prefix_of(kind, BaseMetric, {}) is None
    assert names_of(kind, BaseMetric, {}) == Names()
    assert not names_of(kind, BaseMetric, {}).is_known


def test_a_subclass_that_decides_itself_is_not_taken_for_its_parent():
    assert names_of(Deciding, BaseMetric, {}).names == ["accuracy/mine"]
    assert names_of(Settled, BaseMetric, {}).names is None
    assert names_of(Settled, BaseMetric, {}).prefix == "accuracy"
