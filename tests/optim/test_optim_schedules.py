"""Scheduled values against torch.optim.lr_scheduler, chains, spans, state, and what is refused."""

from __future__ import annotations

import copy
import inspect
import math
import re

import pytest
import torch
from torch.optim import lr_scheduler

from trainwright import optim
from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import MMLogger
from trainwright.optim import (
    INF,
    SCHEDULES,
    ConstantLR,
    ConstantParamScheduler,
    CosineAnnealingLR,
    CosineAnnealingMomentum,
    CosineAnnealingParamScheduler,
    LinearLR,
    LinearMomentum,
    LinearParamScheduler,
    LRSchedulerMixin,
    MultiStepLR,
    OptimWrapper,
    OptimWrapperDict,
    _ParamScheduler,
)
from trainwright.registry import PARAM_SCHEDULERS

N_STEPS = 2000


def make_optimizer(kind: str = "SGD", lrs: tuple[float, ...] = (0.1, 0.37, 1e-3)) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return getattr(torch.optim, kind)(groups, lr=0.5, **({"momentum": 0.9} if kind == "SGD" else {}))


def lrs(optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


def record(optimizer, schedulers, n_steps: int = N_STEPS) -> list[list[float]]:
    values = []
    for _ in range(n_steps):
        values.append(lrs(optimizer))
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return values


def assert_near(found: list[list[float]], expected: list[list[float]]) -> None:
    torch.testing.assert_close(
        torch.tensor(found, dtype=torch.float64), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12
    )


PAIRS = [
    pytest.param(
        lambda o: ConstantLR(o, factor=0.3, end=501, by_epoch=False),
        lambda o: lr_scheduler.ConstantLR(o, factor=0.3, total_iters=500),
        id="constant",
    ),
    pytest.param(
        lambda o: ConstantLR(o, factor=0.3, end=1, by_epoch=False),
        lambda o: lr_scheduler.ConstantLR(o, factor=0.3, total_iters=0),
        id="constant-of-one-step",
    ),
    pytest.param(
        lambda o: LinearLR(o, start_factor=1e-3, end_factor=0.9, end=701, by_epoch=False),
        lambda o: lr_scheduler.LinearLR(o, start_factor=1e-3, end_factor=0.9, total_iters=700),
        id="linear",
    ),
    pytest.param(
        lambda o: MultiStepLR(o, [10, 700, 1999], gamma=0.3, by_epoch=False),
        lambda o: lr_scheduler.MultiStepLR(o, [10, 700, 1999], gamma=0.3),
        id="multistep",
    ),
    pytest.param(
        lambda o: CosineAnnealingLR(o, T_max=2000, eta_min=1e-5, by_epoch=False),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=2000, eta_min=1e-5),
        id="cosine",
    ),
    pytest.param(
        lambda o: CosineAnnealingLR(o, T_max=300, by_epoch=False),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=300),
        id="cosine-again-and-again",
    ),
]


@pytest.mark.parametrize(("ours", "torchs"), PAIRS)
def test_values_equal_torch(ours, torchs):
    one, other = make_optimizer(), make_optimizer()
    assert_near(record(one, [ours(one)]), record(other, [torchs(other)]))


def test_warm_up_then_cosine():
    optimizer = make_optimizer()
    chain = [
        LinearLR(optimizer, start_factor=0.01, begin=0, end=500, by_epoch=False),
        CosineAnnealingLR(optimizer, begin=500, T_max=1500, eta_min_ratio=0.1, by_epoch=False),
    ]
    found = record(optimizer, chain)

    def expected(base: float, step: int) -> float:
        if step < 500:
            return base * (0.01 + 0.99 * min(step, 499) / 499)
        return base * (0.1 + 0.9 * (1 + math.cos(math.pi * (step - 500) / 1500)) / 2)

    assert_near(found, [[expected(base, step) for base in (0.1, 0.37, 1e-3)] for step in range(N_STEPS)])
    assert found[499] == found[500] == [0.1, 0.37, 1e-3]


def test_schedulers_that_overlap_multiply_each_other():
    one, other = make_optimizer(), make_optimizer()
    ours = [
        LinearLR(one, start_factor=0.01, end=801, by_epoch=False),
        MultiStepLR(one, [3, 500, 1000], gamma=0.5, by_epoch=False),
        ConstantLR(one, factor=0.25, end=31, by_epoch=False),
    ]
    torchs = [
        lr_scheduler.LinearLR(other, start_factor=0.01, total_iters=800),
        lr_scheduler.MultiStepLR(other, [3, 500, 1000], gamma=0.5),
        lr_scheduler.ConstantLR(other, factor=0.25, total_iters=30),
    ]
    assert_near(record(one, ours), record(other, torchs))


def test_warm_up_by_iteration_under_milestones_by_epoch():
    optimizer, epoch_length = make_optimizer(lrs=(0.1,)), 50
    warm_up = LinearLR(optimizer, start_factor=0.01, end=120, by_epoch=False)
    steps = MultiStepLR(optimizer, [1, 8], end=12, by_epoch=True)
    for iteration in range(600):
        expected = 0.1 * (0.01 + 0.99 * min(iteration, 119) / 119) * 0.1 ** sum(iteration >= m * 50 for m in (1, 8))
        assert lrs(optimizer)[0] == pytest.approx(expected, rel=1e-12)
        warm_up.step()
        if (iteration + 1) % epoch_length == 0:
            steps.step()


def test_a_value_changed_from_outside_counts_as_a_factor():
    one, other = make_optimizer(), make_optimizer()
    ours, torchs = CosineAnnealingLR(one, T_max=90, by_epoch=False), lr_scheduler.CosineAnnealingLR(other, T_max=90)
    found, expected = record(one, [ours], 40), record(other, [torchs], 40)
    for optimizer in (one, other):
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
    assert_near(found + record(one, [ours], 45), expected + record(other, [torchs], 45))


def test_after_the_bottom_of_a_cosine_it_rises_to_the_initial_value():
    optimizer = make_optimizer(lrs=(0.1,))
    schedulers = [
        MultiStepLR(optimizer, [5], gamma=0.1, end=10, by_epoch=False),
        CosineAnnealingLR(optimizer, begin=20, T_max=30, eta_min=0.001, by_epoch=False),
    ]
    values = [v for (v,) in record(optimizer, schedulers, 110)]
    assert values[20] == pytest.approx(0.01)
    assert values[50] == pytest.approx(0.001)
    assert values[80] == pytest.approx(0.1)


def test_before_and_after_its_span_a_scheduler_rests():
    optimizer = make_optimizer(lrs=(0.1,))
    scheduler = LinearLR(optimizer, start_factor=0.5, begin=3, end=6, by_epoch=False)
    assert scheduler.last_step == -1
    values, last_steps = [], []
    for _ in range(8):
        values += lrs(optimizer)
        last_steps.append(scheduler.last_step)
        scheduler.step()
    assert values == pytest.approx([0.1, 0.1, 0.1, 0.05, 0.075, 0.1, 0.1, 0.1])
    assert last_steps == [-1, -1, -1, 0, 1, 2, 2, 2]


def test_a_factor_of_zero_is_left_again():
    optimizer = make_optimizer(lrs=(0.1,))
    scheduler = LinearLR(optimizer, start_factor=0, end=5, by_epoch=False)
    assert_near(record(optimizer, [scheduler], 5), [[0.0], [0.025], [0.05], [0.075], [0.1]])
    constant = ConstantLR(make_optimizer(lrs=(0.1,)), factor=0, end=3)
    assert constant.get_last_value() == [0.0]
    constant.step()
    constant.step()
    assert constant.get_last_value() == [0.1]


def test_a_shorter_fall_than_one_step_and_a_span_of_one():
    optimizer = make_optimizer(lrs=(0.1,))
    assert_near(record(optimizer, [CosineAnnealingLR(optimizer, T_max=1)], 4), [[0.1], [0.0], [0.1], [0.0]])
    optimizer = make_optimizer(lrs=(0.1,))
    assert_near(record(optimizer, [LinearLR(optimizer, start_factor=0.5, end=1)], 2), [[0.05], [0.05]])


@pytest.mark.parametrize("stop", [1, 99, 250, 700])
def test_a_resume_goes_on_bit_for_bit(stop, tmp_path):
    def build():
        optimizer = make_optimizer()
        return optimizer, [
            LinearLR(optimizer, start_factor=0.1, end=200, by_epoch=False),
            CosineAnnealingLR(optimizer, begin=200, end=900, eta_min=1e-6, by_epoch=False),
            MultiStepLR(optimizer, [150, 600], by_epoch=False),
            LinearMomentum(optimizer, start_factor=0.5, end=300, by_epoch=False),
        ]

    optimizer, schedulers = build()
    record(optimizer, schedulers, stop)
    torch.save([optimizer.state_dict(), *[s.state_dict() for s in schedulers]], tmp_path / "state.pth")
    expected = record(optimizer, schedulers, 300)
    again, resumed = build()
    optimizer_state, *states = torch.load(tmp_path / "state.pth", weights_only=True)
    again.load_state_dict(optimizer_state)
    for scheduler, state in zip(resumed, states, strict=True):
        scheduler.load_state_dict(state)
    assert record(again, resumed, 300) == expected


def test_a_state_is_a_copy_without_the_optimizer():
    scheduler = MultiStepLR(make_optimizer(), [3, 5], by_epoch=False)
    state = scheduler.state_dict()
    assert set(state) == set(vars(scheduler)) - {"optimizer"}
    assert (state["last_step"], state["base_values"], state["milestones"]) == (0, [0.1, 0.37, 1e-3], {3: 1, 5: 1})
    state["milestones"][7] = 1
    assert scheduler.milestones == {3: 1, 5: 1}
    other = MultiStepLR(make_optimizer(), [1])
    other.load_state_dict(scheduler.state_dict())
    assert {k: v for k, v in vars(other).items() if k != "optimizer"} == scheduler.state_dict()


def test_a_state_without_start_values_and_with_counted_milestones():
    one, other = make_optimizer(), make_optimizer()
    left = [MultiStepLR(one, [10, 30], by_epoch=False), CosineAnnealingLR(one, T_max=50, begin=20, by_epoch=False)]
    right = [MultiStepLR(other, [1], by_epoch=False), CosineAnnealingLR(other, T_max=9, begin=20, by_epoch=False)]
    record(one, left, 25)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for old, new in zip(left, right, strict=True):
        state = old.state_dict()
        del state["_start"]
        if "milestones" in state:
            state["milestones"] = {10: 1, 30: 1}
        new.load_state_dict(state)
    assert_near(record(other, right, 100), record(one, left, 100))


def test_last_step_continues_from_the_present_values():
    optimizer = make_optimizer(lrs=(0.1,))
    expected = record(optimizer, [LinearLR(optimizer, start_factor=0.1, end=100, by_epoch=False)], 60)
    optimizer = make_optimizer(lrs=(0.1,))
    optimizer.param_groups[0].update(lr=expected[30][0], initial_lr=0.1)
    again = LinearLR(optimizer, start_factor=0.1, end=100, by_epoch=False, last_step=30)
    assert again.last_step == 31
    assert_near(record(optimizer, [again], 29), expected[31:])


def test_several_groups_of_a_wrapper_and_their_base():
    wrapper = OptimWrapper(make_optimizer())
    scheduler = CosineAnnealingLR(wrapper, T_max=10, by_epoch=False)
    for _ in range(5):
        scheduler.step()
    assert wrapper.get_lr()["base_lr"] == pytest.approx([0.25])
    assert wrapper.get_lr()["lr"] == pytest.approx([0.05, 0.185, 0.0005])
    assert scheduler.get_last_value() == [*wrapper.get_lr()["lr"], *wrapper.get_lr()["base_lr"]]
    assert [group["initial_lr"] for group in wrapper.optimizer.param_groups] == [0.1, 0.37, 1e-3]


def test_momentum_of_sgd_and_of_the_adam_family():
    one, other = make_optimizer(), make_optimizer("AdamW")
    LinearMomentum(one, start_factor=0.5, end=10)
    scheduler = CosineAnnealingMomentum(other, T_max=10, by_epoch=False)
    for _ in range(5):
        scheduler.step()
    assert [group["momentum"] for group in one.param_groups] == [0.45] * 3
    assert all(group["betas"] == pytest.approx((0.45, 0.999)) for group in other.param_groups)


def test_any_entry_of_a_group():
    optimizer = make_optimizer("AdamW")
    LinearParamScheduler(optimizer, "weight_decay", start_factor=0.5, end=10)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.005] * 3


def test_a_tensor_is_filled_in_place():
    lr = torch.tensor(0.1, dtype=torch.float64)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = CosineAnnealingLR(optimizer, T_max=10, by_epoch=False)
    for _ in range(5):
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.05)
    assert scheduler.get_last_value() == [lr.item()]


def test_conversion_from_epochs():
    optimizer = make_optimizer()
    build = {"optimizer": optimizer, "epoch_length": 7}
    linear = LinearLR.build_iter_from_epoch(begin=1, end=3, **build)
    cosine = CosineAnnealingLR.build_iter_from_epoch(T_max=100, begin=0.5, **build)
    steps = MultiStepLR.build_iter_from_epoch(milestones=[2, 3.0], end=9, gamma=0.5, **build)
    assert (linear.begin, linear.end, linear.by_epoch, linear.total_iters) == (7, 21, False, 13)
    assert (cosine.begin, cosine.end, cosine.T_max) == (3, INF, 700)
    assert (steps.milestones, steps.end, steps.gamma) == ({14: 1, 21: 1}, 63, 0.5)


@pytest.mark.parametrize("row", [row for row in SCHEDULES if row != "OneCycleMomentum"])
@pytest.mark.parametrize(("suffix", "leading"), [("LR", 1), ("Momentum", 1), ("ParamScheduler", 2)])
def test_three_names_a_row(row, suffix, leading):
    name = row + suffix
    cls, schedule = getattr(optim, name), SCHEDULES.get(name, SCHEDULES[row])
    assert PARAM_SCHEDULERS.get(name) is cls
    assert cls.schedule is schedule
    names = list(inspect.signature(cls).parameters)
    assert names == ["optimizer", "param_name"][:leading] + list(schedule.arguments)


def test_build_by_name():
    optimizer = make_optimizer()
    cfg = {"type": "CosineAnnealingLR", "T_max": 3, "convert_to_iter_based": True}
    built = PARAM_SCHEDULERS.build(cfg, default_args={"optimizer": optimizer, "epoch_length": 10})
    assert (built.T_max, built.by_epoch) == (30, False)
    cfg = {"type": "MultiStepLR", "milestones": [3, 5], "gama": 0.1}
    with pytest.raises(ConfigTypeError, match="unknown argument 'gama'. Did you mean 'gamma'"):
        PARAM_SCHEDULERS.build(cfg, default_args={"optimizer": optimizer})


def test_a_subclass_says_its_own_values():
    class Halving(_ParamScheduler):
        def _get_value(self):
            return [base * 0.5**self.last_step for base in self.base_values]

    class HalvingLR(LRSchedulerMixin, Halving):
        pass

    optimizer = make_optimizer(lrs=(0.1, 0.2))
    scheduler = HalvingLR(optimizer, end=3, by_epoch=False)
    for _ in range(5):
        scheduler.step()
    assert lrs(optimizer) == [0.025, 0.05]


def test_a_subclass_builds_on_the_values_of_a_shell():
    class Lower(CosineAnnealingParamScheduler):
        def __init__(self, *args, share, **kwargs):
            self.share = share
            super().__init__(*args, **kwargs)

        def _get_value(self):
            return (
                [value * self.share for value in super()._get_value()] if self.last_step == 0 else super()._get_value()
            )

    class Fixed(ConstantParamScheduler):
        def __init__(self, optimizer, param_name, **kwargs):
            super().__init__(optimizer, param_name=param_name, factor=0.5, **kwargs)

    optimizer = make_optimizer(lrs=(0.1,))
    scheduler = Lower(optimizer, "lr", T_max=10, share=0.5)
    assert lrs(optimizer) == [0.05]
    scheduler.step()
    assert lrs(optimizer) == pytest.approx([0.1 * (1 + math.cos(math.pi / 10)) / 2])
    assert Fixed(make_optimizer(), "lr", end=4).get_last_value() == pytest.approx([0.05, 0.185, 0.0005])


def test_the_base_names_what_is_missing():
    with pytest.raises(NotImplementedError, match="_ParamScheduler must define _get_value"):
        _ParamScheduler(make_optimizer(), "lr")


def test_verbose_logs_each_group(capsys):
    with MMLogger("optim-schedules-test").as_current():
        scheduler = ConstantLR(make_optimizer(lrs=(0.1, 0.3)), factor=0.5, verbose=True)
        scheduler.print_value(False, 0, 1.0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" - ")[-1] for line in lines] == [
        "lr of parameter group 0 is now 5.0000e-02",
        "lr of parameter group 1 is now 1.5000e-01",
    ]


SPAN = {"end": 10}
BAD = [
    (MultiStepLR, {"milestones": [8, 5]}, "milestones must rise, got [8, 5]: each is the step from which the value is"),
    (MultiStepLR, {"milestones": [8, 5, 8]}, "Did you mean [5, 8]?"),
    (
        MultiStepLR,
        {"milestones": 8},
        "milestones must be a list of whole numbers of steps since begin, got 8; for instance",
    ),
    (MultiStepLR, {"milestones": [1.5]}, "milestones must be a list of whole numbers of steps since begin, got [1.5]"),
    (MultiStepLR, {"milestones": [-1]}, "milestones must be a list of whole numbers"),
    (MultiStepLR, {"milestones": [1], "gamma": "x"}, "gamma must be a number of at least 0, got 'x': it multiplies"),
    (MultiStepLR, {}, "MultiStepLR: missing a required argument: 'milestones'; it takes milestones, gamma"),
    (CosineAnnealingLR, {"T_max": 0}, "T_max must be a number of steps above 0, got 0: it is the length of the fall"),
    (CosineAnnealingLR, {"T_max": -3}, "Leave it out to use the whole span, end - begin"),
    (CosineAnnealingLR, {"T_max": "9"}, "T_max must be a number of steps above 0, got '9'"),
    (
        CosineAnnealingLR,
        {"eta_min": 1, "eta_min_ratio": 0.1},
        "eta_min and eta_min_ratio both say the lowest value, got ",
    ),
    (CosineAnnealingLR, {"eta_min": "a"}, "eta_min must be a number or None, got 'a' of type str"),
    (
        CosineAnnealingLR,
        {"begin": 10, "end": 10},
        "end should be larger than begin, but got begin=10 and end=10: the",
    ),
    (LinearLR, {"begin": 5, "end": 3, "by_epoch": False}, "counted in iterations"),
    (LinearLR, {"begin": -1}, "begin must not be below 0, got -1: 0 is the first step of the run"),
    (LinearLR, {"begin": "0"}, "begin must be a number of steps, got '0' of type str"),
    (LinearLR, {"by_epoch": 1}, "by_epoch must be True (count epochs) or False (count iterations), got 1 of type int"),
    (
        LinearLR,
        {"start_factor": 1.5},
        "start_factor must be a number from 0 to 1, got 1.5: it multiplies the value to be",
    ),
    (LinearLR, {"end_factor": -1}, "end_factor must be a number from 0 to 1, got -1"),
    (
        LinearLR,
        {"start_facto": 0.5},
        "LinearLR has no argument 'start_facto': it takes start_factor, end_factor, begin",
    ),
    (ConstantLR, {"factor": None}, "factor must be a number from 0 to 1, got None"),
    (ConstantLR, {"last_step": -2}, "last_step must be a whole number of at least -1 (a fresh start), got -2"),
    (
        ConstantLR,
        {"last_step": 3},
        "param 'initial_lr' is not specified in parameter group 0, and last_step says that",
    ),
]


@pytest.mark.parametrize(("cls", "kwargs", "message"), BAD)
def test_bad_arguments(cls, kwargs, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        cls(make_optimizer(), **kwargs)


def test_bad_optimizers():
    with pytest.raises(
        ConfigTypeError, match="optimizer should be an Optimizer of torch or an OptimWrapper, got 'SGD' of"
    ):
        LinearLR("SGD")
    several = OptimWrapperDict(a=OptimWrapper(make_optimizer()))
    with pytest.raises(ConfigTypeError, match=re.escape("this OptimWrapperDict holds several (a): build one for each")):
        LinearLR(several)
    with pytest.raises(
        ConfigError, match="param_name is 'weight_deca', which parameter group 0 does not have: it has lr"
    ):
        LinearParamScheduler(make_optimizer(), "weight_deca")
    with pytest.raises(ConfigError, match="Did you mean 'weight_decay'"):
        LinearParamScheduler(make_optimizer(), "weight_deca")
    with pytest.raises(
        ConfigError,
        match="when using momentum schedulers, or have betas, and Adagrad has neither: ",
    ):
        LinearMomentum(OptimWrapper(torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))])))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"epoch_length": 7, "by_epoch": False}, "only a scheduler with by_epoch=True can be converted, got False"),
        ({}, "needs epoch_length, the iterations an epoch, as a whole number above 0, got None"),
        ({"epoch_length": 0}, "above 0, got 0"),
        ({"epoch_length": 7, "milestones": [1.3]}, "milestones must be a list of whole numbers"),
        ({"epoch_length": 7, "milestones": ["a"]}, "milestones must be a list of whole numbers"),
    ],
)
def test_bad_conversion(kwargs, message):
    kwargs = {"milestones": [3], **kwargs}
    with pytest.raises(ConfigError, match=re.escape(message)):
        MultiStepLR.build_iter_from_epoch(make_optimizer(), **kwargs)
