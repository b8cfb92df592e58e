"""Which schedulers may run at the same time on one parameter."""

import re

import pytest
from schedule_cases import make_optimizer

from trainwright.base.errors import ConfigError
from trainwright.optim import OptimWrapper, OptimWrapperDict, _ParamScheduler
from trainwright.registry import PARAM_SCHEDULERS
from trainwright.strategies.schedulers import make_schedulers

HORIZON = {"epoch_length": 10, "max_epochs": 100, "max_iters": 1000}


def make(*schedulers, horizon=HORIZON, wrapper=None):
    return make_schedulers(list(schedulers), wrapper or OptimWrapper(make_optimizer()), horizon)


def cfg(kind, begin=0, end=None, by_epoch=False, **more):
    given = {"type": kind, "begin": begin, "by_epoch": by_epoch, **more}
    return given if end is None else {**given, "end": end}


CYCLE = {"eta_max": 0.1}
WARM_UP = cfg("LinearLR", end=50)
FINE = {
    "warm-up, then a decay": [WARM_UP, cfg("CosineAnnealingLR", 50, 1000)],
    "warm-up onto a decay": [WARM_UP, cfg("CosineAnnealingLR", eta_min=1e-4)],
    "warm-up by iteration onto a decay by epoch": [WARM_UP, cfg("CosineAnnealingLR", by_epoch=True)],
    "warm-up onto milestones": [WARM_UP, cfg("MultiStepLR", by_epoch=True, milestones=[3, 8])],
    "many factors": [cfg("MultiStepLR", milestones=[3]), cfg("ExponentialLR", gamma=0.9), cfg("ConstantLR", end=9)],
    "up and down again": [cfg("CosineAnnealingLR", 0, 400, eta_min=1.0), cfg("CosineAnnealingLR", 400, 1000)],
    "one step shared": [cfg("CosineAnnealingLR", 0, 401, eta_min=1.0), cfg("CosineAnnealingLR", 400, 1000)],
    "two parameters": [cfg("CosineAnnealingLR"), cfg("OneCycleMomentum")],
    "two entries": [
        cfg("PolyParamScheduler", param_name="weight_decay"),
        cfg("PolyParamScheduler", param_name="lr"),
    ],
    "cycle after warm-up": [WARM_UP, cfg("OneCycleLR", 50, **CYCLE)],
    "restarts, then a warm-up beside the first": [
        cfg("CosineRestartLR", periods=[400, 600], restart_weights=[1, 1]),
        WARM_UP,
    ],
    "restarts after warm-up": [WARM_UP, cfg("CosineRestartLR", 50, periods=[400, 500], restart_weights=[1, 1])],
    "plateau beside a decay": [cfg("PolyLR", by_epoch=True), cfg("ReduceOnPlateauLR", by_epoch=True)],
    "plateau beside one period": [
        cfg("ReduceOnPlateauLR", by_epoch=True),
        cfg("CosineRestartLR", by_epoch=True, periods=[100]),
    ],
    "converted, one after the other": [
        cfg("CosineAnnealingLR", 0, 5, by_epoch=True, convert_to_iter_based=True),
        cfg("CosineAnnealingLR", 5, 9, by_epoch=True, convert_to_iter_based=True),
    ],
}
LEADS = "both lead lr to a value of their own"
BAD = {
    "two decays": (
        [cfg("CosineAnnealingLR"), cfg("PolyLR")],
        f"CosineAnnealingLR and PolyLR {LEADS} in iterations 0 to",
    ),
    "a forgotten end": (
        [cfg("CosineAnnealingLR", eta_min=1.0), cfg("CosineAnnealingLR", 400)],
        f"CosineAnnealingLR and CosineAnnealingLR {LEADS} in iterations 400 to 1000, and the result would be neither.",
    ),
    "two steps shared": ([cfg("PolyLR", 0, 402), cfg("CosineAnnealingLR", 400)], f"{LEADS} in iterations 400 to 402"),
    "by epoch and by iteration": (
        [cfg("CosineAnnealingLR", 0, 50, by_epoch=True), cfg("PolyLR", 400)],
        f"CosineAnnealingLR and PolyLR {LEADS} in iterations 400 to 500",
    ),
    "a cycle and a warm-up": (
        [WARM_UP, cfg("OneCycleLR", **CYCLE)],
        "OneCycleLR sets lr in each step, so what LinearLR does to it in iterations 0 to 50 has no effect or",
    ),
    "a cycle and a plateau": (
        [cfg("OneCycleLR", by_epoch=True, **CYCLE), cfg("ReduceOnPlateauLR", by_epoch=True)],
        "OneCycleLR sets lr in each step, so what ReduceOnPlateauLR does to it in epochs 0 to 100 has no effect",
    ),
    "restarts that undo a warm-up": (
        [WARM_UP, cfg("CosineRestartLR", periods=[1000])],
        "CosineRestartLR sets lr anew at 0 (iterations), where LinearLR is at work: what that did until then is lost",
    ),
    "restarts that undo milestones": (
        [cfg("CosineRestartLR", periods=[300, 700], restart_weights=[1, 1]), cfg("MultiStepLR", milestones=[100])],
        "CosineRestartLR sets lr anew at 300 (iterations), where MultiStepLR is at work",
    ),
    "restarts that undo a plateau": (
        [
            cfg("CosineRestartLR", by_epoch=True, periods=[30, 70], restart_weights=[1, 1]),
            cfg("ReduceOnPlateauLR", by_epoch=True),
        ],
        "CosineRestartLR sets lr anew at 30 (epochs), where ReduceOnPlateauLR is at work",
    ),
    "a stable stage beside a decay": (
        [cfg("WarmupStableDecayLR", warmup_steps=5, decay_steps=5), cfg("CosineAnnealingLR")],
        f"WarmupStableDecayLR and CosineAnnealingLR {LEADS}",
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_legitimate_chains_are_left_alone(name):
    assert len(make(*FINE[name])) == len(FINE[name])


@pytest.mark.parametrize("name", BAD)
def test_schedulers_that_work_against_each_other(name):
    schedulers, message = BAD[name]
    text = re.escape("param_scheduler number 0 and number 1 (counted from 0): ") + ".*" + re.escape(message)
    with pytest.raises(ConfigError, match=text):
        make(*schedulers)


def test_without_the_length_of_an_epoch_only_the_beginning_is_known():
    horizon = {**HORIZON, "epoch_length": None}
    assert len(make(cfg("CosineAnnealingLR", 0, 50, by_epoch=True), cfg("PolyLR", 400), horizon=horizon)) == 2
    with pytest.raises(ConfigError, match=f"CosineAnnealingLR and PolyLR {LEADS} from the first step on"):
        make(cfg("CosineAnnealingLR", 0, 50, by_epoch=True), cfg("PolyLR"), horizon=horizon)
    with pytest.raises(ConfigError, match="CosineRestartLR sets lr anew at 0, where LinearLR is at work"):
        make(WARM_UP, cfg("CosineRestartLR", by_epoch=True, periods=[9]), horizon=horizon)


def test_each_optimizer_has_schedulers_of_its_own():
    wrapper = OptimWrapperDict(a=OptimWrapper(make_optimizer()), b=OptimWrapper(make_optimizer()))
    built = make_schedulers({"a": [cfg("PolyLR")], "b": [cfg("CosineAnnealingLR")]}, wrapper, HORIZON)
    assert [len(items) for items in built.values()] == [1, 1]
    with pytest.raises(ConfigError, match=LEADS):
        make_schedulers([cfg("PolyLR"), cfg("CosineAnnealingLR")], wrapper, HORIZON)


NAMES = [
    ({"a": []}, "none for the optim wrapper 'bee': add bee=[...], with an empty list where nothing is scheduled"),
    (
        {"a": [], "be": [], "bee": []},
        "has an entry 'be', but the optim wrappers are a, bee. Did you mean 'bee'?",
    ),
]


@pytest.mark.parametrize(("schedulers", "message"), NAMES)
def test_schedulers_and_optimizers_have_the_same_names(schedulers, message):
    wrapper = OptimWrapperDict(a=OptimWrapper(make_optimizer()), bee=OptimWrapper(make_optimizer()))
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_schedulers(schedulers, wrapper, HORIZON)


def test_a_scheduler_of_ones_own_is_not_judged(monkeypatch):
    class Own(_ParamScheduler):
        def __init__(self, optimizer, **kwargs):
            super().__init__(optimizer, "lr", **kwargs)

        def _get_value(self):
            return self.base_values

    monkeypatch.setitem(PARAM_SCHEDULERS.module_dict, "Own", Own)
    assert len(make(cfg("Own"), cfg("PolyLR"), cfg("Own"))) == 3
