"""Scheduled values over 10,000 steps: against torch, against the published formulas, and across resumes."""

import copy
import math
import random

import pytest
import torch
from schedule_cases import ARGUMENTS, N_STEPS, RATES, arguments, assert_near, chain, make_optimizer, record, values_of
from torch.optim import lr_scheduler

from trainwright import optim
from trainwright.base.errors import ConfigError
from trainwright.optim import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    OneCycleMomentum,
    OneCycleParamScheduler,
    OptimWrapper,
    PolyLR,
    StepLR,
    WarmupStableDecayLR,
    WarmupStableDecayMomentum,
)


def build(row, optimizer, given, **more):
    return getattr(optim, f"{row}LR")(optimizer, by_epoch=False, **given, **more)


TORCH = {
    "Constant": lambda o, g: lr_scheduler.ConstantLR(o, g["factor"], total_iters=g["end"] - 1),
    "Linear": lambda o, g: lr_scheduler.LinearLR(o, g["start_factor"], g["end_factor"], total_iters=g["end"] - 1),
    "Exponential": lambda o, g: lr_scheduler.ExponentialLR(o, g["gamma"]),
    "Step": lambda o, g: lr_scheduler.StepLR(o, g["step_size"], g["gamma"]),
    "MultiStep": lambda o, g: lr_scheduler.MultiStepLR(o, g["milestones"], g["gamma"]),
    "CosineAnnealing": lambda o, g: lr_scheduler.CosineAnnealingLR(o, g["T_max"], g["eta_min"]),
    "Poly": lambda o, g: lr_scheduler.PolynomialLR(o, total_iters=g["end"] - 1, power=g["power"]),
    "OneCycle": lambda o, g: lr_scheduler.OneCycleLR(
        o,
        g["eta_max"],
        total_steps=N_STEPS,
        pct_start=g["pct_start"],
        anneal_strategy=g["anneal_strategy"],
        div_factor=g["div_factor"],
        final_div_factor=g["final_div_factor"],
        three_phase=g["three_phase"],
        cycle_momentum=False,
    ),
}


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("row", TORCH)
def test_values_equal_torch(row, seed):
    given = {**arguments(row, seed), "begin": 0, "end": N_STEPS}
    if row == "CosineAnnealing":
        given.pop("eta_min_ratio", None)
        given = {"eta_min": 1e-4, "T_max": 4000, **given}
    if row == "Poly":
        given["eta_min"] = 0.0  # torch's has none
    one, other = make_optimizer(), make_optimizer()
    ours, theirs = build(row, one, given), TORCH[row](other, given)
    assert_near(record(one, [ours], N_STEPS - 1), record(other, [theirs], N_STEPS - 1))


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")
@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal_strategy", ["cos", "linear"])
@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_momentum_beside_one_cycle_equals_torch(kind, anneal_strategy, three_phase):
    shape = {"total_steps": 1000, "pct_start": 0.3, "anneal_strategy": anneal_strategy, "three_phase": three_phase}
    one, other = make_optimizer(kind), make_optimizer(kind)
    ours = [
        OneCycleLR(one, eta_max=0.2, by_epoch=False, **shape),
        OneCycleMomentum(one, eta_max=0.95, eta_min=0.8, by_epoch=False, **shape),
    ]
    theirs = lr_scheduler.OneCycleLR(other, 0.2, base_momentum=0.8, max_momentum=0.95, **shape)

    def momentum(optimizer):
        return [group["betas"][0] if kind == "AdamW" else group["momentum"] for group in optimizer.param_groups]

    for _ in range(999):
        assert momentum(one) == pytest.approx(momentum(other), abs=1e-12)
        assert values_of(one) == pytest.approx(values_of(other), abs=1e-12)
        for scheduler in (*ours, theirs):
            scheduler.step()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("row", ARGUMENTS)
def test_a_resume_at_any_place_goes_on_bit_for_bit(row, seed):
    check_resume([(row, arguments(row, seed, 400))], seed)


@pytest.mark.parametrize("seed", range(12))
def test_a_resumed_chain_goes_on_bit_for_bit(seed):
    check_resume(chain(seed, 400), seed)


def check_resume(schedules, seed):
    def fresh():
        optimizer = make_optimizer()
        return optimizer, [build(row, optimizer, given) for row, given in schedules]

    optimizer, schedulers = fresh()
    expected = record(optimizer, schedulers, 400)
    stop = random.Random(seed).randrange(1, 399)
    optimizer, schedulers = fresh()
    record(optimizer, schedulers, stop)
    states = copy.deepcopy([optimizer.state_dict(), *[s.state_dict() for s in schedulers]])
    again, resumed = fresh()
    again.load_state_dict(states[0])
    for scheduler, state in zip(resumed, states[1:], strict=True):
        scheduler.load_state_dict(state)
    assert record(again, resumed, 400 - stop) == expected[stop:]


@pytest.mark.parametrize("row", ["Exponential", "Step", "MultiStep", "Poly", "CosineAnnealing", "Linear"])
def test_the_value_is_a_function_of_the_counter_alone(row):
    given = {**arguments(row, 1), "begin": 0, "end": 100_000}
    if row == "CosineAnnealing":
        given["T_max"] = 100_000
    optimizer = make_optimizer()
    scheduler = build(row, optimizer, given)
    record(optimizer, [scheduler], 9_999)
    settings = [getattr(scheduler, name) for name in scheduler.schedule.factor_settings]
    factor = scheduler.schedule.factor(9_999, *settings)
    floors = scheduler._floors() or [0.0] * len(RATES)
    exact = [low + (base - low) * factor if low else base * factor for base, low in zip(RATES, floors, strict=True)]
    scheduler.step()
    factor = scheduler.schedule.factor(10_000, *settings)
    exact = [low + (base - low) * factor for base, low in zip(RATES, floors, strict=True)]
    assert values_of(optimizer) == pytest.approx(exact, rel=1e-15, abs=1e-18)


def test_an_overflow_is_infinite_and_an_underflow_is_zero():
    optimizer = make_optimizer(rates=(1.0,))
    grows = ExponentialLR(optimizer, gamma=1e200, by_epoch=False)
    assert record(optimizer, [grows], 3)[1:] == [[1e200], [math.inf]]
    optimizer = make_optimizer(rates=(1.0,))
    falls = ExponentialLR(optimizer, gamma=1e-200, by_epoch=False)
    assert record(optimizer, [falls], 4)[1:] == [[1e-200], [0.0], [0.0]]


def test_poly_ends_at_its_lowest_value_with_the_last_step_in_the_span():
    optimizer = make_optimizer(rates=(0.1,))
    scheduler = PolyLR(optimizer, eta_min=0.01, power=1.0, end=10, by_epoch=False)
    values = [value for (value,) in record(optimizer, [scheduler], 12)]
    assert values == pytest.approx([0.1 - 0.01 * n for n in range(10)] + [0.01, 0.01])
    assert record(make_optimizer(rates=(0.1,)), [PolyLR(make_optimizer(), end=1, by_epoch=False)], 2)[1] == [0.1]


# -- one cycle ---------------------------------------------------------------------------------------------------------
def test_one_cycle_for_each_group_and_what_it_leaves_in_the_groups():
    optimizer = make_optimizer()
    scheduler = OneCycleLR(optimizer, eta_max=[0.5, 0.25, 0.1], total_steps=100, by_epoch=False)
    keys = [[group[f"{name}_lr"] for name in ("initial", "max", "min")] for group in optimizer.param_groups]
    assert keys == [[peak / 25, peak, peak / 25 / 1e4] for peak in (0.5, 0.25, 0.1)]
    values = record(optimizer, [scheduler], 100)
    assert max(value for value, *_ in values) == pytest.approx(0.5)
    assert values[-1] == pytest.approx([peak / 25 / 1e4 for peak in (0.5, 0.25, 0.1)])


def test_one_cycle_of_a_wrapper_takes_the_last_value_for_the_base_settings():
    wrapper = OptimWrapper(make_optimizer())
    OneCycleLR(wrapper, eta_max=[0.5, 0.25, 0.1], total_steps=100)
    assert wrapper.base_param_settings["max_lr"] == 0.1


def test_one_cycle_of_any_entry():
    optimizer = make_optimizer("AdamW")
    OneCycleParamScheduler(optimizer, "weight_decay", eta_max=0.5, total_steps=100)
    assert values_of(optimizer, "weight_decay") == [0.02] * 3


@pytest.mark.parametrize("pct_start", [0, 0.0, 0.01, 0.5, 1, 1.0])
def test_one_cycle_with_a_leg_of_no_length(pct_start):
    optimizer = make_optimizer(rates=(0.1,))
    scheduler = OneCycleLR(optimizer, eta_max=0.5, total_steps=100, end=100, pct_start=pct_start, by_epoch=False)
    values = [value for (value,) in record(optimizer, [scheduler], 100)]
    assert all(0 < value <= 0.5 for value in values)


def test_the_step_behind_the_cycle_keeps_its_last_value():
    optimizer = make_optimizer(rates=(0.1,))
    cycle = OneCycleLR(optimizer, eta_max=0.5, total_steps=10, anneal_strategy="linear", by_epoch=False)
    values = record(optimizer, [cycle], 10)
    assert values[9] == values_of(optimizer) == pytest.approx([2e-6])
    with pytest.raises(ConfigError, match="a cycle of total_steps=10 was asked for step 11: it is over. Set total"):
        cycle.step()


# -- restarts ----------------------------------------------------------------------------------------------------------
def test_restarts_begin_anew_and_the_last_period_is_kept():
    optimizer = make_optimizer(rates=(0.1,))
    scheduler = optim.CosineRestartLR(
        optimizer, periods=[4, 6], restart_weights=[1, 0.5], eta_min_ratio=0.1, by_epoch=False
    )
    values = [value for (value,) in record(optimizer, [scheduler], 14)]

    def cosine(high, step, period):
        return 0.01 + (high - 0.01) * (1 + math.cos(math.pi * step / period)) / 2

    expected = [cosine(0.1, step, 4) for step in range(4)] + [cosine(0.05, step, 6) for step in range(6)]
    assert values == pytest.approx(expected + [expected[-1]] * 4, abs=1e-15)
    assert [scheduler.get_position_from_periods(n, scheduler.cumulative_periods) for n in (0, 3, 4, 9, 10)] == [
        *(0, 0, 1, 1, None)
    ]


def test_a_warm_up_beside_the_first_period():
    optimizer = make_optimizer(rates=(0.1,))
    schedulers = [
        optim.CosineRestartLR(optimizer, periods=[20], by_epoch=False),
        LinearLR(optimizer, start_factor=0.1, end=6, by_epoch=False),
    ]
    values = [value for (value,) in record(optimizer, schedulers, 20)]
    expected = [0.1 * min(1, 0.1 + 0.9 * n / 5) * (1 + math.cos(math.pi * n / 20)) / 2 for n in range(20)]
    assert values == pytest.approx(expected, rel=1e-12)


# -- warm-up, stable, decay --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("decay_type", "left"),
    [
        ("linear", lambda share: 1 - share),
        ("cosine", lambda share: 0.5 * (1 + math.cos(math.pi * share))),
        ("1-sqrt", lambda share: 1 - math.sqrt(share)),
    ],
)
def test_warm_up_stable_decay(decay_type, left):
    optimizer = make_optimizer(rates=(0.1,))
    scheduler = WarmupStableDecayLR(
        optimizer, 10, 20, start_factor=0.2, end_factor=0.05, decay_type=decay_type, begin=5, end=105, by_epoch=False
    )
    values = [value for (value,) in record(optimizer, [scheduler], 110)]
    shares = [n / 20 for n in range(20)]
    assert values[:5] == [0.1] * 5
    assert values[5:15] == pytest.approx([0.1 * (0.2 + 0.8 * n / 10) for n in range(10)])
    assert values[15:86] == [0.1] * 71
    assert values[85:105] == pytest.approx([0.1 * (0.05 + 0.95 * left(share)) for share in shares])
    assert values[105:] == values[104:105] * 5


def test_warm_up_stable_decay_in_epochs_and_of_momentum():
    optimizer = make_optimizer()
    built = WarmupStableDecayLR.build_iter_from_epoch(
        optimizer, warmup_steps=1, decay_steps=0.5, end=10, epoch_length=8
    )
    assert (built.warmup_steps, built.decay_steps, built.total_steps, built.by_epoch) == (8, 4, 80, False)
    WarmupStableDecayMomentum(optimizer, warmup_steps=0, decay_steps=0, end=10)
    assert values_of(optimizer, "momentum") == [0.9] * 3
    other = make_optimizer(rates=(0.1,))
    assert record(other, [WarmupStableDecayLR(other, 2, 0, end=4, by_epoch=False)], 4) == [[0.0], [0.05], [0.1], [0.1]]


# -- groups that come later --------------------------------------------------------------------------------------------
def add_group(optimizer, lr, **settings):
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr, **settings})


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("row", ["Exponential", "Linear", "CosineAnnealing", "Poly", "Step"])
def test_a_group_that_is_added_changes_by_the_same_factors(row, wrapped):
    given = {
        "Exponential": {"gamma": 0.9},
        "Linear": {"start_factor": 0.2, "end_factor": 0.9, "end": 40},
        "CosineAnnealing": {"T_max": 50},
        "Poly": {"end": 60},
        "Step": {"step_size": 3, "gamma": 0.5},
    }[row]
    optimizer, alone = make_optimizer(), make_optimizer()
    target = OptimWrapper(optimizer) if wrapped else optimizer
    scheduler, other = build(row, target, given), build(row, alone, given)
    record(optimizer, [scheduler], 10), record(alone, [other], 10)
    before = values_of(optimizer)[0]
    add_group(optimizer, lr=0.02)
    for _ in range(20):
        scheduler.step(), other.step()
        *old, new = values_of(optimizer)
        assert old == values_of(alone)  # bit for bit as without it
        assert new == pytest.approx(0.02 * old[0] / before, rel=1e-12)
    assert optimizer.param_groups[-1]["initial_lr"] == 0.02
    assert len(scheduler.get_last_value()) == len(target.param_groups)
    if wrapped:
        assert target.get_lr()["base_lr"] == pytest.approx([0.5 * old[0] / 0.1])


def test_a_group_that_is_added_to_a_cycle_to_restarts_and_before_a_span():
    optimizer = make_optimizer(rates=(0.1,))
    cycle = OneCycleLR(optimizer, eta_max=0.5, total_steps=100, by_epoch=False)
    record(optimizer, [cycle], 10)
    add_group(optimizer, lr=0.02)
    cycle.step()
    first, second = values_of(optimizer)
    assert first == second
    optimizer = make_optimizer(rates=(0.1,))
    restarts = optim.CosineRestartLR(optimizer, periods=[10, 10], restart_weights=[1, 0.5], by_epoch=False)
    late = StepLR(optimizer, 2, begin=25, by_epoch=False)
    record(optimizer, [restarts, late], 5)
    add_group(optimizer, lr=0.02)
    values = record(optimizer, [restarts, late], 30)
    assert values[5] == pytest.approx([0.05, 0.01])
    assert values[22] == pytest.approx([0.1 * value for value in values[21]])


def test_a_group_that_is_added_has_betas_for_a_momentum_schedule():
    optimizer = make_optimizer("AdamW")
    scheduler = optim.ExponentialMomentum(optimizer, gamma=0.5, by_epoch=False)
    add_group(optimizer, lr=0.1, betas=(0.8, 0.99))
    scheduler.step()
    assert [group["betas"] for group in optimizer.param_groups] == [(0.45, 0.999)] * 3 + [(0.4, 0.99)]


def test_a_schedule_of_ones_own_meets_groups_that_are_added():
    class Falling(optim._ParamScheduler):
        def _get_value(self):
            return [base / (1 + self.last_step) for base in self.base_values]

    optimizer = make_optimizer(rates=(0.1,))
    scheduler = Falling(optimizer, "lr")
    add_group(optimizer, lr=0.2)
    scheduler.step()
    assert values_of(optimizer) == [0.05, 0.1]


def test_a_resume_with_a_group_that_was_added():
    def fresh():
        optimizer = make_optimizer()
        return optimizer, CosineAnnealingLR(optimizer, T_max=50, by_epoch=False)

    optimizer, scheduler = fresh()
    record(optimizer, [scheduler], 10)
    add_group(optimizer, lr=0.02)
    record(optimizer, [scheduler], 5)
    states = copy.deepcopy([optimizer.state_dict(), scheduler.state_dict()])
    expected = record(optimizer, [scheduler], 20)
    again, resumed = fresh()
    add_group(again, lr=0.5)
    again.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    assert record(again, [resumed], 20) == expected
