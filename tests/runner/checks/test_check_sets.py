"""Several validation sets, lists of loaders, and losses that are asked for, before anything is built."""

import pytest
from torch import nn

from trainwright.engine import BaseLoop, ValLoop
from trainwright.registry import LOOPS, MODELS
from trainwright.testing.toys import ToyModel, toy_loader


class ListLoop(BaseLoop):
    def __init__(self, runner, dataloader, evaluator):
        raise AssertionError("no instance is made")

    def run(self):
        raise AssertionError


class OwnRun(ValLoop):
    def run(self):
        raise AssertionError


class NoMode(ToyModel):
    def forward(self, inputs, label=None):
        raise AssertionError


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    for registry, kind in ((LOOPS, ListLoop), (LOOPS, OwnRun), (MODELS, NoMode)):
        monkeypatch.setitem(registry.module_dict, kind.__name__, kind)
    monkeypatch.setitem(MODELS.module_dict, "Linear", nn.Linear)


def sets(**changes):
    return {"val_dataloader": {"day": toy_loader(8), "night": toy_loader(8)}, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"val_evaluator": [{"type": "Accuracy"}]},
        {"val_evaluator": {"metrics": {"type": "Accuracy"}}},
        {"val_evaluator": {"night": {"type": "Accuracy"}, "day": [{"type": "Accuracy", "topk": 2}]}},
        {"val_cfg": {"type": "OwnRun", "loss": True}},
        {"test_dataloader": {"a": toy_loader()}, "test_cfg": {}, "test_evaluator": {"a": {"type": "Accuracy"}}},
    ],
)
def test_what_fits(found, changes):
    assert found(**sets(**changes)) == []


def test_a_name_that_would_part_metric_names(found):
    assert found(val_dataloader={"day/early": toy_loader(8)}) == [
        (
            "error",
            "val_dataloader.day/early: 'day/early' cannot be the name of a set: it must be a text without '/', which "
            "parts metric names.",
        )
    ]


@pytest.mark.parametrize("part", ["val", "test"])
def test_names_of_sets_and_evaluators(found, part):
    changes = {f"{part}_dataloader": sets()["val_dataloader"], f"{part}_cfg": {}}
    changes[f"{part}_evaluator"] = {"day": {"type": "Accuracy"}, "nigth": {"type": "Accuracy"}}
    assert found(**changes) == [
        (
            "error",
            f"{part}_evaluator.nigth: {part}_evaluator names 'nigth', which is no set of {part}_dataloader (day, "
            "night). Did you mean 'night'?",
        ),
        (
            "error",
            f"{part}_evaluator: {part}_evaluator has nothing for the set 'night' of {part}_dataloader (day, night). "
            "Give each set one, or give one evaluator for all of them.",
        ),
    ]


def test_evaluators_by_name_for_one_loader(found):
    ((level, text),) = found(val_evaluator={"day": {"type": "Accuracy"}})
    assert level == "error"
    assert text == (
        "val_evaluator: val_evaluator has neither 'type' nor 'metrics', so it names sets (day), but val_dataloader is "
        "one loader. Give that names too: val_dataloader=dict(day=dict(dataset=...))."
    )


def test_a_list_is_for_a_loop_of_one_s_own(found):
    loaders = [toy_loader(), toy_loader()]
    ((level, text),) = found(val_dataloader=loaders)
    assert level == "error"
    assert text == (
        "val_dataloader: ValLoop takes one loader, or several by name, and val_dataloader is a list. Write "
        "val_dataloader=dict(first=..., second=...), or name a loop of your own that takes a list: "
        "val_cfg=dict(type=...)."
    )
    evaluators = [{"type": "Evaluator", "metrics": [{"type": "Accuracy"}]}, [{"type": "Accuracy"}]]
    assert found(val_dataloader=loaders, val_cfg={"type": "ListLoop"}, val_evaluator=evaluators) == []


def test_mistakes_inside_a_set_are_found_at_their_place(found):
    loaders = {"day": toy_loader(8), "night": {**toy_loader(8), "batch_siz": 3}}
    loaders["day"]["dataset"] = {"type": "ToyDatset"}
    evaluators = {"day": {"type": "Accuracy", "topk": "1"}, "night": {"metrics": [{"type": "Acuracy"}]}}
    problems = found(val_dataloader=loaders, val_evaluator=evaluators)
    assert [text.partition(": ")[0] for _, text in problems] == [
        "val_dataloader.night.batch_siz",
        "val_dataloader.day.dataset.type",
        "val_evaluator.day.topk",
        "val_evaluator.night.metrics.0.type",
    ]


def test_a_training_loader_has_no_names(found):
    ((_, text), *_) = found(train_dataloader={"day": toy_loader()})
    assert "train_dataloader" in text


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"type": "NoMode"},
            "val_cfg.loss: val_cfg=dict(loss=True) asks for losses, and forward() of NoMode takes no ",
        ),
        (
            {"type": "Linear", "in_features": 1, "out_features": 1},
            "val_cfg.loss: val_cfg=dict(loss=True) asks for losses, and Linear has no _run_forward, through which ",
        ),
    ],
)
def test_losses_of_a_model_that_has_none_to_give(found, model, message):
    ((level, text),) = found(model=model, val_cfg={"loss": True})
    assert level == "error"
    assert text.startswith(message)
    assert found(model=model) == []


def test_a_setting_of_the_wrong_type_and_the_line_it_is_in(written):
    from trainwright.runner.check import validate

    (problem,) = validate(written("val_cfg = dict(\n    loss='yes',\n)\n"))
    assert str(problem).startswith("a.py:3: val_cfg.loss: ValLoop: argument 'loss' must be bool")
    lines = [
        "val_dataloader = dict(_delete_=True, day=dict(dataset=dict(type='ToyDataset')))",
        "val_evaluator = dict(",
        "    _delete_=True,",
        "    dya=dict(type='Accuracy'),",
        ")",
    ]
    first, second = map(str, validate(written("\n".join(lines) + "\n", "b.py")))
    assert first.startswith("b.py:5: val_evaluator.dya: val_evaluator names 'dya', which is no set")
    assert "val_evaluator has nothing for the set 'day'" in second
