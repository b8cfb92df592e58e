"""Schedules that are longer than the run."""

import pytest

from trainwright.engine import BaseLoop
from trainwright.registry import LOOPS

EPOCHS = {"by_epoch": True, "max_epochs": 10}
ITERS = {"by_epoch": False, "max_iters": 100, "val_interval": 50}


def run(scheduler, train_cfg=EPOCHS):
    return {"param_scheduler": scheduler, "train_cfg": train_cfg}


@pytest.mark.parametrize(
    ("scheduler", "train_cfg"),
    [
        ({"type": "CosineAnnealingLR", "T_max": 10, "end": 10}, EPOCHS),
        ({"type": "CosineAnnealingLR"}, EPOCHS),
        ({"type": "CosineAnnealingLR", "begin": 2, "T_max": 8, "convert_to_iter_based": True}, EPOCHS),
        ({"type": "LinearLR", "end": 2, "convert_to_iter_based": True, "epoch_length": 30}, EPOCHS),
        ({"type": "LinearLR", "by_epoch": False, "end": 500}, EPOCHS),  # how long an epoch is nobody knows yet
        ({"type": "MultiStepLR", "milestones": [8, 9]}, EPOCHS),
        ({"type": "MultiStepLR", "milestones": [8, 90], "end": 10}, EPOCHS),
        ({"type": "ConstantLR", "end": 10**9}, EPOCHS),
        ({"type": "LinearLR", "by_epoch": False, "end": 100}, ITERS),
        ({"a": [{"type": "LinearLR"}]}, EPOCHS),
    ],
)
def test_schedules_that_fit(found, scheduler, train_cfg):
    assert found(**run(scheduler, train_cfg)) == []


@pytest.mark.parametrize(
    ("scheduler", "train_cfg", "where", "named"),
    [
        ({"type": "LinearLR", "end": 20}, EPOCHS, "end", "end=20 is beyond train_cfg.max_epochs=10 epochs"),
        ({"type": "CosineAnnealingLR", "T_max": 11}, EPOCHS, "T_max", "T_max=11 is beyond train_cfg.max_epochs=10"),
        (
            {"type": "CosineAnnealingLR", "begin": 2, "end": 20, "T_max": 18, "convert_to_iter_based": True},
            EPOCHS,
            "end",
            "end=20 and T_max=18 are beyond train_cfg.max_epochs=10 epochs",
        ),
        (
            {"type": "MultiStepLR", "begin": 3, "milestones": [6, 7]},
            EPOCHS,
            "milestones",
            "milestones=[6, 7] is beyond train_cfg.max_epochs=10 epochs",
        ),
        (
            {"type": "LinearLR", "begin": 10, "end": 12},
            EPOCHS,
            "begin",
            "begin=10 and end=12 are beyond train_cfg.max_epochs=10 epochs",
        ),
        (
            {"type": "LinearLR", "by_epoch": False, "end": 102},
            ITERS,
            "end",
            "end=102 is beyond train_cfg.max_iters=100 iterations",
        ),
        (
            {"type": "LinearLR", "by_epoch": False, "end": 102},
            {"type": "IterBasedTrainLoop", "max_iters": 100},
            "end",
            "end=102 is beyond train_cfg.max_iters=100 iterations",
        ),
    ],
)
def test_schedules_that_outlast_the_run(found, scheduler, train_cfg, where, named):
    ((level, text),) = found(**run([scheduler], train_cfg))
    assert level == "warning"
    assert text.startswith(f"param_scheduler.0.{where}: {scheduler['type']} outlasts the run: {named}")
    assert text.endswith("so the schedule is cut off. For the whole of it in a shorter run, scale it too.")


def test_schedules_that_count_epochs_where_there_is_only_one(found):
    assert found(**run({"type": "LinearLR", "end": 3}, ITERS)) == [
        (
            "warning",
            "param_scheduler: LinearLR counts epochs, and training that counts iterations (train_cfg.max_iters=100) is "
            "one epoch: it would never step. Set by_epoch=False.",
        )
    ]


def test_a_loop_of_ones_own_is_not_judged(found, monkeypatch):
    class Own(BaseLoop):
        def __init__(self, runner, dataloader, max_epochs):
            raise AssertionError("no instance is made")

    monkeypatch.setitem(LOOPS.module_dict, "Own", Own)
    assert found(**run({"type": "LinearLR", "end": 20}, {"type": "Own", "max_epochs": 10})) == []


def test_of_several_optimizers(found):
    scheduler = {"first": [{"type": "LinearLR", "end": 3}], "second": {"type": "LinearLR", "end": 30}}
    ((_, text),) = found(**run(scheduler))
    assert text.startswith("param_scheduler.second.end: LinearLR outlasts the run")


@pytest.mark.parametrize(
    ("scheduler", "place", "message"),
    [
        (
            {"type": "CosineAnnealingLR", "T_max": 0},
            ".T_max",
            "CosineAnnealingLR: T_max must be a number of steps above 0",
        ),
        ({"type": "MultiStepLR", "milestones": [8, 5]}, ".milestones", "MultiStepLR: milestones must rise, got [8, 5]"),
        ({"type": "StepLR", "step_size": 0}, ".step_size", "StepLR: step_size must be a whole number of steps"),
        (
            {"type": "LinearLR", "begin": 5, "end": 3},
            ".end",
            "LinearLR: end should be larger than begin, but got begin=5 and end=3",
        ),
        ({"type": "PolyLR", "begin": 12}, "", "PolyLR: end should be larger than begin, but got begin=12 and end=10"),
        (
            {"type": "ReduceOnPlateauLR", "convert_to_iter_based": True, "monitor": "accuracy/top1"},
            "",
            "ReduceOnPlateauLR: ReduceOnPlateauLR steps after validation and cannot count iterations",
        ),
        (
            {"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 7},
            ".total_steps",
            "OneCycleLR is over after 7 epochs (begin + total_steps), and training goes on to train_cfg.max_epochs=10: "
            "leave total_steps out",
        ),
    ],
)
def test_wrong_settings_are_found_before_anything_is_built(found, scheduler, place, message):
    errors = [text for level, text in found(**run([scheduler])) if level == "error"]
    assert len(errors) == 1
    assert errors[0].startswith(f"param_scheduler.0{place}: {message}")


@pytest.mark.parametrize(
    ("scheduler", "train_cfg"),
    [
        ({"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 7, "end": 7}, EPOCHS),
        ({"type": "OneCycleLR", "eta_max": 0.1, "total_steps": 7, "begin": 3}, EPOCHS),
        ({"type": "MultiStepLR", "milestones": [1.5], "convert_to_iter_based": True}, EPOCHS),
        ({"type": "ReduceOnPlateauLR", "monitor": "accuracy/top1", "rule": "greater"}, ITERS),
        ([{"type": "LinearLR", "by_epoch": False, "end": 50}, {"type": "CosineAnnealingLR", "eta_min": 1e-4}], EPOCHS),
        ({"a": [{"type": "PolyLR"}], "b": [{"type": "CosineAnnealingLR"}]}, EPOCHS),
    ],
)
def test_settings_that_are_fine(found, scheduler, train_cfg):
    assert found(**run(scheduler, train_cfg)) == []


def test_schedulers_that_work_against_each_other_have_file_and_line(written):
    from trainwright.runner.check import validate

    cfg = written(
        "param_scheduler = [\n"
        "    dict(type='LinearLR', end=3),\n"
        "    dict(type='CosineAnnealingLR', eta_min=1.0),\n"
        "    dict(type='CosineAnnealingLR', begin=1),\n"
        "]\ntrain_cfg = dict(by_epoch=True, max_epochs=9)\n"
    )
    (problem,) = [problem for problem in validate(cfg) if problem.level == "error"]
    text = (
        "a.py:5: param_scheduler.2: works against param_scheduler.1. CosineAnnealingLR and CosineAnnealingLR both lead "
        "lr to a value of their own in epochs 1 to 9, and the result would be neither. Let one end where the other"
    )
    assert str(problem).startswith(text)


def test_each_two_that_work_against_each_other_in_a_list_for_one_optimizer(found):
    both = [{"type": "PolyLR"}, {"type": "CosineAnnealingLR"}]
    errors = [text for _, text in found(**run({"a": both, "b": both[:1]}))]
    assert [text.partition(":")[0] for text in errors] == ["param_scheduler.a.1"]
