"""Metric names in hooks and schedulers against those that validation gives."""

import pytest

from trainwright.engine import Hook, ValLoop
from trainwright.evaluation import Accuracy, BaseMetric, Evaluator
from trainwright.hooks import CheckpointHook
from trainwright.optim import ConstantLR
from trainwright.registry import EVALUATOR, HOOKS, LOOPS, METRICS, PARAM_SCHEDULERS
from trainwright.testing.toys import toy_loader


class EarlyStoppingHook(Hook):
    def __init__(self, monitor: str, patience: int = 5):
        raise AssertionError("no instance is made")


class ReduceOnPlateauLR(ConstantLR):
    def __init__(self, optimizer, monitor="loss", patience=1):
        raise AssertionError("no instance is made")


class OwnLoop(ValLoop):
    def run(self):
        raise AssertionError


class OwnEvaluator(Evaluator):
    def evaluate(self, size):
        raise AssertionError


class Foreign:
    def process(self, data_batch, data_samples):
        raise AssertionError

    def evaluate(self, size):
        raise AssertionError


class Nameless(BaseMetric):
    def process(self, data_batch, data_samples):
        raise AssertionError

    def compute_metrics(self, results):
        return results[0]


class Fragile(BaseMetric):
    default_prefix = "accuracy"

    def __init__(self, n: int) -> None:
        raise AssertionError("no instance is made")

    @classmethod
    def result_names(cls, n):
        return [f"accuracy/top{n + 1}"]

    def process(self, data_batch, data_samples):
        raise AssertionError

    def compute_metrics(self, results):
        raise AssertionError


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    for registry, kind in (
        (HOOKS, EarlyStoppingHook),
        (PARAM_SCHEDULERS, ReduceOnPlateauLR),
        (LOOPS, OwnLoop),
        (EVALUATOR, OwnEvaluator),
        (METRICS, Foreign),
        (METRICS, Nameless),
        (METRICS, Fragile),
    ):
        monkeypatch.setitem(registry.module_dict, kind.__name__, kind)


def best(name, **changes):
    return {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "save_best": name}}, **changes}


@pytest.mark.parametrize("name", ["auto", "accuracy/top1", ["accuracy/top1"], None])
def test_names_that_are_given(found, name):
    assert found(**best(name)) == []


def test_save_best(found):
    text = "default_hooks.checkpoint.save_best: save_best='accuracy/top2' is not among the metrics that val_evaluator "
    assert found(**best("accuracy/top2")) == [
        ("error", text + "gives: accuracy/top1. Did you mean 'accuracy/top1'?"),
    ]
    assert found(**best("accuracy/top2", val_evaluator={"type": "Accuracy", "topk": [1, 2]})) == []
    ((_, text),) = found(**best(["p/top1", "loss"], val_evaluator={"type": "Accuracy", "prefix": "p"}))
    assert text.startswith("default_hooks.checkpoint.save_best.1: save_best='loss' is not among")
    assert text.endswith("gives: p/top1. To have the losses of the model too: val_cfg=dict(loss=True).")


def test_hooks_and_schedulers_that_watch_a_metric(found):
    changes = {
        "custom_hooks": [{"type": "EarlyStoppingHook", "monitor": "top1"}, CheckpointHook(save_best="top1")],
        "param_scheduler": [{"type": "ReduceOnPlateauLR"}, {"type": "ReduceOnPlateauLR", "monitor": "accuracy/top1"}],
    }
    assert [(level, text.partition(" is not among")[0]) for level, text in found(**changes)] == [
        ("error", "custom_hooks.0.monitor: monitor='top1'"),
        ("error", "custom_hooks.1: save_best='top1'"),
        ("error", "param_scheduler.0: monitor='loss'"),
    ]


def test_losses_of_the_model(found):
    for name in ("loss", "loss_ce", "acc_seg"):
        assert found(**best(name, val_cfg={"loss": True})) == []
    ((_, text),) = found(**best("accuracy/lss", val_cfg={"loss": True}))
    assert text.endswith("gives: accuracy/top1, loss. Did you mean 'accuracy/top1'?")
    assert found(**best("val_loss")) == [], "a model may put it behind its predictions"


def sets(**changes):
    loaders = {"day": toy_loader(8), "night": toy_loader(8)}
    return {"val_dataloader": loaders, **changes}


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({}, ["day/accuracy/top1", "night/accuracy/top1"]),
        ({"val_cfg": {"loss": True}}, ["night/loss", "day/loss_ce", "day/accuracy/top1"]),
        (
            {"val_evaluator": {"day": {"type": "Accuracy", "topk": 2}, "night": [{"type": "ScriptedMetric"}]}},
            ["day/accuracy/top2", "night/toy/whatever"],
        ),
        ({"val_evaluator": {"day": {"type": "Nameless"}, "night": {"type": "Accuracy"}}}, ["day/what/ever"]),
    ],
)
def test_names_of_several_sets(found, changes, given):
    assert found(**best(given, **sets(**changes))) == []
    ((_, text),) = found(**best("nigth/accuracy/top1", **sets(**changes)))
    assert "save_best='nigth/accuracy/top1' is not among the metrics that val_evaluator gives: " in text


def test_a_name_that_lacks_its_set(found):
    ((_, text),) = found(**best("accuracy/top1", **sets()))
    assert text.endswith(
        "day/accuracy/top1, night/accuracy/top1. Did you mean 'day/accuracy/top1' or 'night/accuracy/top1'?"
    )


def test_several_metrics(found):
    toy = {"type": "ScriptedMetric", "acc": [1.0]}
    for evaluator in ([{"type": "Accuracy"}, toy], {"metrics": [{"type": "Accuracy"}, toy]}):
        assert found(**best("accuracy/top1", val_evaluator=evaluator)) == []
        assert found(**best("toy/whatever", val_evaluator=evaluator)) == []
        ((_, text),) = found(**best("acc", val_evaluator=evaluator))
        assert text.endswith("val_evaluator gives: accuracy/top1, toy/....")


@pytest.mark.parametrize(
    "changes",
    [
        {"val_evaluator": {"type": "Foreign"}},
        {"val_evaluator": {"type": "Nameless"}},
        {"val_evaluator": [{"type": "Accuracy"}, {"type": "Nameless"}]},
        {"val_evaluator": {"type": "OwnEvaluator", "metrics": {"type": "Accuracy"}}},
        {"val_evaluator": Foreign()},
        {"val_cfg": {"type": "OwnLoop"}},
    ],
)
def test_where_nobody_can_know_nothing_is_said(found, changes):
    assert found(**best("acc/whatever", **changes)) == []


def test_built_metrics_are_known_by_their_prefix(found):
    for evaluator in (Evaluator([Accuracy(prefix="p")]), [Accuracy(prefix="p")]):
        assert found(**best("p/top7", val_evaluator=evaluator)) == []
        ((_, text),) = found(**best("top1", val_evaluator=evaluator))
        assert text.endswith("val_evaluator gives: p/....")


def test_without_validation_it_has_no_effect(found):
    changes = best("accuracy/top1", val_evaluator=None, val_cfg=None, val_dataloader=None)
    assert found(**changes) == [
        (
            "warning",
            "default_hooks.checkpoint.save_best: save_best='accuracy/top1' has no effect: without val_dataloader, "
            "val_cfg and val_evaluator no metric is computed.",
        )
    ]


def test_settings_that_no_name_follows_from_are_reported_as_themselves(found):
    ((_, text),) = found(**best("accuracy/top1", val_evaluator={"type": "Accuracy", "topk": "1"}))
    assert text.startswith("val_evaluator.topk: Accuracy: argument 'topk' must be int or list")
    ((_, text),) = found(**best("accuracy/top1", val_evaluator={"type": "Fragile", "n": "1"}))
    assert text.startswith("val_evaluator.n: Fragile: argument 'n' must be int")
