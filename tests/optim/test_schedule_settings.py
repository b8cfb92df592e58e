"""Wrong arguments of each scheduler: what is said, and that the constructor and the check before a run agree."""

import re

import pytest
from schedule_cases import make_optimizer

from trainwright import optim
from trainwright.base.errors import ConfigError

SGD_SPAN = {"end": 10}
BAD = [
    (
        "ExponentialLR",
        {"gamma": -0.1},
        "gamma must be a number of at least 0, got -0.1: it multiplies the value in every",
    ),
    ("ExponentialLR", {}, "missing a required argument: 'gamma'; it takes gamma, begin, end, last_step"),
    (
        "StepLR",
        {"step_size": 0},
        "step_size must be a whole number of steps of at least 1, got 0: the value is multiplied",
    ),
    ("StepLR", {"step_size": 2.5}, "step_size must be a whole number of steps of at least 1, got 2.5"),
    (
        "StepLR",
        {"step_size": 2, "gamma": "x"},
        "gamma must be a number of at least 0, got 'x': it multiplies the value after",
    ),
    ("PolyLR", {"power": -1}, "power must be a number of at least 0, got -1: 1 is a straight line down to eta_min"),
    ("PolyLR", {"eta_min": None}, "eta_min must be a number, got None of type NoneType"),
    ("CosineAnnealingLR", {"T_max": 0}, "T_max must be a number of steps above 0, got 0: it is the length of the fall"),
    ("MultiStepLR", {"milestones": [8, 5]}, "milestones must rise, got [8, 5]: each is the step from which"),
    ("MultiStepLR", {"milestones": [8, 8]}, "Did you mean [8]?"),
    ("OneCycleLR", {}, "eta_max must be a number above 0, or a list of one for each parameter group, got 0: it is the"),
    (
        "OneCycleLR",
        {"eta_max": [0.1, 0.2]},
        "eta_max must be a number or have one for each of the 3 parameter groups, got 2",
    ),
    (
        "OneCycleLR",
        {"eta_max": 1, "total_steps": 0},
        "total_steps must be a whole number of steps of at least 1, got 0",
    ),
    (
        "OneCycleLR",
        {"eta_max": 1, "pct_start": 1.1},
        "pct_start must be a number from 0 to 1, got 1.1: it is the share",
    ),
    (
        "OneCycleLR",
        {"eta_max": 1, "anneal_strategy": "cosine"},
        "anneal_strategy must be one of 'cos' or 'linear', got 'cosine'. Did you mean 'cos'?",
    ),
    ("OneCycleLR", {"eta_max": 1, "div_factor": 0}, "div_factor must be a number above 0, got 0: the cycle begins at"),
    ("OneCycleLR", {"eta_max": 1, "final_div_factor": None}, "final_div_factor must be a number above 0, got None"),
    ("OneCycleLR", {"eta_max": 1, "three_phase": 3}, "three_phase must be True or False, got 3"),
    ("OneCycleMomentum", {"eta_max": 1.2}, "eta_max must be a number from 0 to below 1, got 1.2: it is a momentum"),
    ("OneCycleMomentum", {"eta_min": 0.96}, "eta_min must not be above eta_max, got eta_min=0.96 and eta_max=0.95"),
    ("CosineRestartLR", {"periods": []}, "periods must be a list of whole numbers of steps, each at least 1, got []"),
    (
        "CosineRestartLR",
        {"periods": [3, 0]},
        "periods must be a list of whole numbers of steps, each at least 1, got [3, 0]",
    ),
    (
        "CosineRestartLR",
        {"periods": [3, 4]},
        "restart_weights must have one number for each period, got 1 ((1,)) for 2 periods ([3, 4])",
    ),
    (
        "CosineRestartLR",
        {"periods": [3], "restart_weights": [-1]},
        "restart_weights must be a list of numbers of at least 0",
    ),
    (
        "CosineRestartLR",
        {"periods": [3], "eta_min": 0.1, "eta_min_ratio": 0.1},
        "eta_min and eta_min_ratio both say the lowest value, got eta_min=0.1 and eta_min_ratio=0.1: give one",
    ),
    (
        "WarmupStableDecayLR",
        {"warmup_steps": 6, "decay_steps": 5, "end": 10},
        "warmup_steps and decay_steps must fit into the span, got 6 + 5 steps in one of 10: shorten them, or set `end`",
    ),
    (
        "WarmupStableDecayLR",
        {"warmup_steps": -1, "decay_steps": 5},
        "warmup_steps must be a whole number of steps of at",
    ),
    (
        "WarmupStableDecayLR",
        {"warmup_steps": 1, "decay_steps": 0.5},
        "decay_steps must be a whole number of steps of at",
    ),
    (
        "WarmupStableDecayLR",
        {"warmup_steps": 1, "decay_steps": 1, "decay_type": "sqrt"},
        "decay_type must be one of 'linear', 'cosine', '1-sqrt', got 'sqrt'. Did you mean '1-sqrt'?",
    ),
    (
        "WarmupStableDecayLR",
        {"warmup_steps": 1, "decay_steps": 1, "end_factor": 2},
        "end_factor must be a number from 0 to 1, got 2",
    ),
    (
        "ReduceOnPlateauLR",
        {"by_epoch": False},
        "by_epoch must be True for a schedule that steps after validation, got False",
    ),
    ("ReduceOnPlateauLR", {"rule": "min"}, "rule must be one of 'less' or 'greater', got 'min'."),
    (
        "ReduceOnPlateauLR",
        {"threshold_rule": "relative"},
        "threshold_rule must be one of 'rel' or 'abs', got 'relative'.",
    ),
    (
        "ReduceOnPlateauLR",
        {"factor": 1.0},
        "factor must be a number from 0 to below 1, got 1.0: each reduction multiplies",
    ),
    ("ReduceOnPlateauLR", {"patience": -1}, "patience must be a whole number of validations of at least 0, got -1"),
    ("ReduceOnPlateauLR", {"cooldown": 1.5}, "cooldown must be a whole number of validations of at least 0, got 1.5"),
    ("ReduceOnPlateauLR", {"threshold": -1e-3}, "threshold must be a number of at least 0, got -0.001"),
    ("ReduceOnPlateauLR", {"eps": None}, "eps must be a number of at least 0, got None"),
    ("ReduceOnPlateauLR", {"monitor": None}, "monitor must be the name of a metric, got None"),
    (
        "ReduceOnPlateauLR",
        {"min_value": "0"},
        "min_value must be a number, or a list of one for each parameter group, got",
    ),
    (
        "ReduceOnPlateauLR",
        {"min_value": [0.1]},
        "min_value must be a number or have one for each of the 3 parameter groups",
    ),
    (
        "ReduceOnPlateauLR",
        {"end": 0},
        "end should be larger than begin, but got begin=0 and end=0: the span is",
    ),
]
NEEDS_GROUPS = "for each of the 3 parameter groups"


@pytest.mark.parametrize(("name", "kwargs", "message"), BAD)
def test_wrong_arguments(name, kwargs, message):
    cls = getattr(optim, name)
    with pytest.raises(ConfigError, match=re.escape(message)):
        cls(make_optimizer(), **kwargs)
    if NEEDS_GROUPS in message:
        assert cls.checked_settings(kwargs)["by_epoch"] is True
    else:
        with pytest.raises(ConfigError, match=re.escape(message)):
            cls.checked_settings(kwargs)


def test_a_schedule_after_validation_cannot_count_iterations():
    with pytest.raises(ConfigError, match="ReduceOnPlateauLR steps after validation and cannot count iterations: take"):
        optim.ReduceOnPlateauLR.build_iter_from_epoch(make_optimizer(), epoch_length=3)
