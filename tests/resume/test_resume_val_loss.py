"""Validation losses and several sets change nothing in a training, and go on exactly after a resume."""

import pytest
from resuming import assert_same, config, resumed, run

from trainwright.engine import Event
from trainwright.testing.recorder import StopAt
from trainwright.testing.toys import differences, toy_loader

BEST = {"checkpoint": {"type": "CheckpointHook", "interval": 1, "max_keep_ckpts": 3, "save_best": ["loss"]}}
SETS = {
    "val_dataloader": {
        "day": toy_loader(9, 4, shuffle=False, noise=0.1),
        "night": toy_loader(7, 3, shuffle=False, noise=0.5),
    },
    "default_hooks": {"checkpoint": {**BEST["checkpoint"], "save_best": ["night/loss", "day/accuracy/top1"]}},
}


def settings(**changes):
    model = {"type": "ToyModel", "dropout": 0.3, "noisy_eval": True, "n_terms": 3}
    return {"model": model, "val_cfg": {"loss": True}, "default_hooks": BEST, **changes}


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_two_then_five(tmp_path, several, by_epoch):
    changes = settings(**(SETS if several else {}))
    whole, part = {"by_epoch": True, "max_epochs": 5}, {"by_epoch": True, "max_epochs": 2}
    if not by_epoch:
        whole = {"by_epoch": False, "max_iters": 25, "val_interval": 5}
        part = {**whole, "max_iters": 10}
        hook = {**changes["default_hooks"]["checkpoint"], "by_epoch": False, "interval": 5}
        changes["default_hooks"] = {"checkpoint": hook}
    straight = run(config(tmp_path / "one", **changes, train_cfg=whole))
    run(config(tmp_path / "parts", **changes, train_cfg=part))
    assert_same(straight, resumed(config(tmp_path / "parts", **changes, train_cfg=whole)))


@pytest.mark.parametrize(("event", "nth"), [(Event.AFTER_VAL_ITER, 2), (Event.AFTER_VAL_ITER, 9), (Event.AFTER_VAL, 2)])
def test_interrupted_in_a_validation_of_several_sets(tmp_path, event, nth):
    changes = settings(**SETS)
    straight = run(config(tmp_path / "one", **changes))
    run(config(tmp_path / "parts", **changes), StopAt(event, nth))
    assert_same(straight, resumed(config(tmp_path / "parts", **changes)))


def test_the_training_is_the_same_with_and_without(tmp_path):
    hooks = {"default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": 1}}}
    one = run(config(tmp_path / "one", **settings(**hooks)))
    other = run(config(tmp_path / "other", **settings(val_cfg={}, **hooks)))
    for part in ("state_dict", "optimizer", "rng", "loader"):
        assert not differences(one.final[part], other.final[part])
    assert "val/loss" in str(differences(one.final["message_hub"], other.final["message_hub"]))
