"""Values that fall when a metric stops getting better: against torch, beside other schedules, in whole runs."""

import copy
import random

import pytest
import torch
from schedule_cases import make_optimizer, values_of

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import MMLogger
from trainwright.engine import Hook
from trainwright.optim import (
    CosineAnnealingLR,
    LinearLR,
    MultiStepLR,
    OptimWrapper,
    ReduceOnPlateauLR,
    ReduceOnPlateauMomentum,
    ReduceOnPlateauParamScheduler,
)
from trainwright.runner import Runner
from trainwright.testing.toys import differences, toy_config


def walk(seed, n_steps=200):
    draw = random.Random(seed)
    value, found = 2.0, []
    for _ in range(n_steps):
        value *= draw.choice([0.97, 1.0, 1.0, 1.01])
        found.append(value)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_values_equal_torch(seed):
    draw = random.Random(seed)
    rule, threshold_rule = draw.choice(["less", "greater"]), draw.choice(["rel", "abs"])
    given = {
        "factor": draw.uniform(0.2, 0.9),
        "patience": draw.randrange(5),
        "threshold": draw.choice([0.0, 1e-4, 1e-2]),
        "cooldown": draw.randrange(4),
        "eps": draw.choice([1e-8, 1e-3]),
    }
    low = draw.choice([0.0, [1e-3, 1e-2, 1e-5]])
    one, other = make_optimizer(), make_optimizer()
    ours = ReduceOnPlateauLR(one, rule=rule, threshold_rule=threshold_rule, min_value=low, **given)
    mode = {"less": "min", "greater": "max"}[rule]
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(other, mode, threshold_mode=threshold_rule, min_lr=low, **given)
    for value in walk(seed):
        ours.step(), ours.step({"loss": value, "other": 3})
        theirs.step(value)
        assert values_of(one) == values_of(other)


def test_patience_cooldown_and_the_lowest_value():
    optimizer = make_optimizer(rates=(0.1,))
    scheduler = ReduceOnPlateauLR(optimizer, "acc", "greater", factor=0.5, patience=1, cooldown=2, min_value=0.03)
    values = []
    for acc in [0.5, 0.5, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4, 0.9, 0.4]:
        scheduler.step({"acc": torch.tensor(acc)})
        values += values_of(optimizer)
    assert values == [0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.03, 0.03, 0.03, 0.03]
    assert (scheduler.best, scheduler.last_step) == (pytest.approx(0.9), 9)
    assert scheduler.get_last_value() == [0.03]


def test_only_within_its_span_of_epochs():
    optimizer = make_optimizer(rates=(0.1,))
    scheduler = ReduceOnPlateauLR(optimizer, factor=0.5, patience=0, begin=2, end=4)
    values = []
    for _ in range(6):
        scheduler.step()
        scheduler.step({"loss": 1.0})
        values += values_of(optimizer)
    assert values == [0.1, 0.1, 0.05, 0.05, 0.05, 0.05]


def test_beside_schedules_that_step_by_themselves():
    """A reduction is one more factor."""
    one, other = make_optimizer(), make_optimizer()
    ours = [LinearLR(one, start_factor=0.1, end=10, by_epoch=False), CosineAnnealingLR(one, T_max=100, by_epoch=False)]
    alone = [LinearLR(other, start_factor=0.1, end=10, by_epoch=False)]
    alone += [CosineAnnealingLR(other, T_max=100, by_epoch=False)]
    plateau, reduced = ReduceOnPlateauLR(one, factor=0.5, patience=0), 0
    for step in range(80):
        for scheduler in (*ours, *alone):
            scheduler.step()
        if step in (5, 30, 60):
            plateau.step({"loss": 1.0})
            reduced += step > 5  # the first is the best so far
        assert values_of(one) == pytest.approx([value * 0.5**reduced for value in values_of(other)], rel=1e-12)


def test_of_a_wrapper_its_base_settings_and_a_group_that_comes_later():
    wrapper = OptimWrapper(make_optimizer())
    scheduler = ReduceOnPlateauLR(wrapper, factor=0.5, patience=0, min_value=[0.06, 0.0, 0.0])
    assert scheduler.min_values == [0.06, 0.0, 0.0, 0.0]
    scheduler.step({"loss": 1.0})
    wrapper.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.02})
    scheduler.step({"loss": 1.0})
    assert values_of(wrapper.optimizer) == [0.06, 0.185, 5e-4, 0.01]
    assert wrapper.get_lr()["base_lr"] == [0.25]


def test_momentum_and_any_entry():
    optimizer = make_optimizer("AdamW")
    schedulers = [
        ReduceOnPlateauMomentum(optimizer, factor=0.5, patience=0),
        ReduceOnPlateauParamScheduler(optimizer, "weight_decay", factor=0.5, patience=0),
    ]
    for _ in range(2):
        for scheduler in schedulers:
            scheduler.step({"loss": 1.0})
    assert [group["betas"] for group in optimizer.param_groups] == [(0.45, 0.999)] * 3
    assert values_of(optimizer, "weight_decay") == [0.005] * 3


def test_a_subclass_says_to_which_values():
    class ToTheSquare(ReduceOnPlateauLR):
        def _get_value(self):
            return [float(group[self.param_name]) ** 2 for group in self.optimizer.param_groups]

    optimizer = make_optimizer(rates=(0.1,))
    scheduler = ToTheSquare(optimizer, patience=0)
    scheduler.step({"loss": 1.0}), scheduler.step({"loss": 1.0})
    assert values_of(optimizer) == pytest.approx([0.01])


def test_a_metric_that_is_not_there():
    scheduler = ReduceOnPlateauLR(make_optimizer(), monitor="los")
    message = (
        "ReduceOnPlateauLR has monitor='los', which validation did not give: it gave loss, acc. Did you mean 'loss'?"
    )
    with pytest.raises(ConfigError) as raised:
        scheduler.step({"loss": 1.0, "acc": 0.5})
    assert str(raised.value) == message
    assert isinstance(raised.value, KeyError)
    with pytest.raises(ConfigTypeError, match=r"step\(\) takes the metrics of a validation as a dict, got 0.3"):
        scheduler.step(0.3)


def test_a_reduction_is_logged_when_asked_for(capsys):
    with MMLogger("plateau-test").as_current():
        scheduler = ReduceOnPlateauLR(make_optimizer(rates=(0.1,)), patience=0, verbose=True)
        scheduler.step({"loss": 1.0}), scheduler.step({"loss": 1.0})
    text = "lr of parameter group 0 is now 1.0000e-02: loss has not become better than 1 (validation 1)"
    assert text in capsys.readouterr().err


# -- whole runs --------------------------------------------------------------------------------------------------------
class Rates(Hook):
    def __init__(self):
        self.seen = []

    def before_train_epoch(self, runner):
        self.seen.append(runner.optim_wrapper.get_lr()["lr"][0])


def config(work_dir, n_epochs=6, **changes):
    script = [0.5, 0.6, 0.6, 0.6, 0.7, 0.7, 0.7, 0.7]
    plateau = {"type": "ReduceOnPlateauLR", "monitor": "toy/acc", "rule": "greater", "factor": 0.5, "patience": 1}
    return toy_config(
        work_dir,
        train_cfg={"by_epoch": True, "max_epochs": n_epochs},
        val_evaluator={"type": "ScriptedMetric", "acc": script},
        param_scheduler=[{"type": "MultiStepLR", "milestones": [5], "end": 100}, {**plateau, "end": 100}],
        **changes,
    )


def test_a_run_follows_its_metric(tmp_path):
    watch = Rates()
    runner = Runner.from_cfg(config(tmp_path, custom_hooks=[watch]))
    runner.train()
    assert watch.seen == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.005])
    plateau = runner.param_schedulers[1]
    assert (plateau.best, plateau._global_step, plateau.last_step) == (0.7, 6, 5)
    before = plateau.state_dict()
    runner.val_evaluator.metrics[0]._script["acc"] = iter([0.1])
    runner.val()
    assert plateau.state_dict() == before  # a validation outside training changes nothing


def test_a_resumed_run_goes_on(tmp_path):
    Runner.from_cfg(config(tmp_path / "whole")).train()
    Runner.from_cfg(config(tmp_path / "part", n_epochs=3)).train()
    resumed = config(tmp_path / "part", resume=True)
    resumed["val_evaluator"]["acc"] = resumed["val_evaluator"]["acc"][2:]  # the third comes after the save
    runner = Runner.from_cfg(resumed)
    runner.train()
    saved = [torch.load(tmp_path / name / "epoch_6.pth", weights_only=True) for name in ("whole", "part")]
    for name in ("state_dict", "optimizer", "param_schedulers"):
        assert differences(saved[0][name], saved[1][name]) == []


def test_training_that_counts_iterations(tmp_path):
    cfg = config(tmp_path)
    cfg["train_cfg"] = {"by_epoch": False, "max_iters": 12, "val_interval": 2}
    cfg["param_scheduler"] = [cfg["param_scheduler"][1]]
    del cfg["param_scheduler"][0]["end"]
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.optim_wrapper.get_lr()["lr"] == pytest.approx([0.05])


def test_the_states_of_two_are_apart():
    optimizer = make_optimizer()
    one = ReduceOnPlateauLR(optimizer, patience=3)
    state = copy.deepcopy(one.state_dict())
    one.step({"loss": 2.0})
    assert (state["best"], one.best) == (float("inf"), 2.0)
    assert MultiStepLR(optimizer, [3]).state_dict()["milestones"] == {3: 1}
