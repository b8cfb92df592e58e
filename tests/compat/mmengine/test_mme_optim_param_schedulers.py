"""mmengine.optim.scheduler: values step by step, of any entry of the groups, of raw and of wrapped optimizers."""

import math
import warnings

import pytest
import torch
from mme_schedules import LR, MULT, assert_values, sgd

pytestmark = [
    pytest.mark.usefixtures("mmengine"),
    # Most of these step a schedule and no optimizer, of which MMEngine warns.
    pytest.mark.filterwarnings("ignore:.*optimizer.step.*:UserWarning"),
]


@pytest.fixture(params=["raw", "wrapped"])
def optimizer(request, mmengine):
    return sgd(wrapped=request.param == "wrapped")


def kinds():
    from mmengine.optim import scheduler

    return scheduler


# -- the base ----------------------------------------------------------------------------------------------------------
def test_the_base_has_no_values(optimizer):
    with pytest.raises(NotImplementedError):
        kinds()._ParamScheduler(optimizer, param_name="lr")


def test_settings_that_are_refused(optimizer):
    step = kinds().StepParamScheduler
    with pytest.raises(TypeError, match="should be an Optimizer"):
        step("invalid_optimizer", step_size=1, param_name="lr")
    with pytest.raises(ValueError, match="end should be larger than begin"):
        step(optimizer, param_name="lr", gamma=0.1, step_size=3, begin=10, end=5)
    with pytest.raises(KeyError):
        step(optimizer, param_name="invalid_name", step_size=10)
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified"):
        step(optimizer, param_name="lr", gamma=0.1, step_size=3, last_step=10)
    with pytest.raises(AssertionError):
        step(optimizer, param_name="lr", step_size=3, last_step=-2)


def test_a_step_of_ones_own_is_warned_of(optimizer):
    scheduler = kinds().ExponentialParamScheduler(optimizer, param_name="lr", gamma=0.9)
    optimizer.step = lambda: None
    optimizer.step()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(UserWarning, match="how-to-adjust-learning-rate"):
            scheduler.step()


def test_a_schedule_before_the_optimizer_is_warned_of(optimizer):
    scheduler = kinds().StepParamScheduler(optimizer, param_name="lr", gamma=0.1, step_size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with pytest.warns(UserWarning, match="how-to-adjust-learning-rate"):
            scheduler.step()


def test_the_right_order_is_not(optimizer):
    scheduler = kinds().StepParamScheduler(optimizer, param_name="lr", gamma=0.1, step_size=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            optimizer.step()
            scheduler.step()


def test_going_on_by_hand(optimizer):
    kind = kinds().ExponentialParamScheduler
    scheduler = kind(optimizer, param_name="lr", gamma=0.9)
    found = []
    for epoch in range(5):
        found.append(optimizer.param_groups[0]["lr"])
        if epoch < 4:  # the checkpoint is saved before the schedule's step
            scheduler.step()
    scheduler = kind(optimizer, param_name="lr", gamma=0.9, last_step=4)
    for _ in range(6):
        found.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    expected = [LR * 0.9**epoch for epoch in range(11)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_the_last_values(optimizer):
    scheduler = kinds().ExponentialParamScheduler(optimizer, param_name="lr", gamma=0.9)
    for epoch in range(10):
        found = scheduler.get_last_value()[:2]
        optimizer.step()
        scheduler.step()
        torch.testing.assert_close(found, [LR * 0.9**epoch, LR * MULT * 0.9**epoch], atol=1e-5, rtol=0)


def test_steps_are_counted(optimizer):
    scheduler = kinds().StepParamScheduler(optimizer, param_name="lr", gamma=0.1, step_size=3, by_epoch=False)
    assert scheduler.last_step == 0
    counts = []
    for _ in range(10):
        optimizer.step()
        scheduler.step()
        counts.append(scheduler.last_step)
    assert counts == list(range(1, 11))


def test_nothing_happens_outside_the_span(optimizer):
    begin, start, iters, epochs = 1, 1 / 2, 4, 10
    ramp = [start + i * (1 - start) / iters for i in range(iters)]
    single = [LR] * begin + [x * LR for x in ramp] + [LR] * (epochs - iters - begin)
    scheduler = kinds().LinearParamScheduler(
        optimizer, param_name="lr", start_factor=start, begin=begin, end=begin + iters + 1
    )
    assert_values(optimizer, scheduler, single)


# -- single schedules --------------------------------------------------------------------------------------------------
SINGLE = {
    "Step": ({"gamma": 0.1, "step_size": 3, "verbose": True}, [LR] * 3 + [LR / 10] * 3 + [LR / 100] * 3 + [LR / 1000]),
    "MultiStep": (
        {"gamma": 0.1, "milestones": [2, 5, 9]},
        [LR] * 2 + [LR / 10] * 3 + [LR / 100] * 4 + [LR / 1000] * 3,
    ),
    "Constant": ({"factor": 1 / 2, "end": 5}, [LR / 2] * 4 + [LR] * 4),
    "Linear": ({"start_factor": 1 / 2, "end": 5}, [0.025, 0.03125, 0.0375, 0.04375] + [LR] * 4),
    "Exponential": ({"gamma": 0.9}, [LR * 0.9**x for x in range(10)]),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_values(optimizer, kind):
    settings, single = SINGLE[kind]
    scheduler = getattr(kinds(), f"{kind}ParamScheduler")(optimizer, param_name="lr", **settings)
    assert_values(optimizer, scheduler, single)


def test_values_of_another_entry(optimizer):
    single = [0.01] * 2 + [0.001] * 2 + [1e-4] * 2
    scheduler = kinds().StepParamScheduler(optimizer, param_name="momentum", gamma=0.1, step_size=2, verbose=True)
    assert_values(optimizer, scheduler, single, name="momentum", scaled=False)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Constant", {"factor": 99}),
        ("Linear", {"start_factor": 10, "end": 900}),
        ("Linear", {"start_factor": -1, "end": 900}),
        ("Linear", {"end_factor": 1.001, "end": 900}),
        ("Linear", {"end_factor": -0.00001, "end": 900}),
        ("OneCycle", {"eta_max": 0.1, "total_steps": -1}),
        ("OneCycle", {"eta_max": 0.1, "pct_start": -1}),
        ("OneCycle", {"eta_max": 0.1, "anneal_strategy": "foo"}),
    ],
)
def test_values_that_are_refused(optimizer, kind, settings):
    with pytest.raises(ValueError, match=r"\w+"):
        getattr(kinds(), f"{kind}ParamScheduler")(optimizer, param_name="lr", **settings)


@pytest.mark.parametrize("low", [{"eta_min": 5e-3}, {"eta_min_ratio": 0.1}])
def test_a_cosine(optimizer, low):
    kind = kinds().CosineAnnealingParamScheduler
    with pytest.raises(AssertionError):
        kind(optimizer, param_name="lr", T_max=10, eta_min=0, eta_min_ratio=0.1)

    def values(base):
        floor = low.get("eta_min", base * low.get("eta_min_ratio", 0))
        return [floor + (base - floor) * (1 + math.cos(math.pi * x / 10)) / 2 for x in range(12)]

    scheduler = kind(optimizer, param_name="lr", T_max=10, **low)
    assert_values(optimizer, scheduler, [values(LR), values(LR * MULT)])


def test_the_period_of_a_cosine(optimizer):
    kind = kinds().CosineAnnealingParamScheduler
    assert kind(optimizer, param_name="lr", begin=5, end=100, eta_min=5e-3).T_max == 95
    converted = kind.build_iter_from_epoch(optimizer, param_name="lr", begin=5, end=100, eta_min=5e-3, epoch_length=7)
    assert converted.T_max == 95 * 7


def test_a_polynomial(optimizer):
    power, low, iters = 0.9, 0.001, 4

    def values(base):
        return [low + (base - low) * (1 - i / iters) ** power for i in range(iters)] + [low] * 6

    scheduler = kinds().PolyParamScheduler(optimizer, param_name="lr", power=power, eta_min=low, end=iters + 1)
    assert_values(optimizer, scheduler, [values(LR), values(LR * MULT)])


RESTARTS = [0.05, 0.0426776, 0.025, 0.00732233, 0.025, 0.022612712, 0.01636271, 0.0086372, 0.0023872, 0.0023872]


def test_restarts(optimizer):
    kind = kinds().CosineRestartParamScheduler
    with pytest.raises(AssertionError):
        kind(optimizer, param_name="lr", periods=[4, 5], restart_weights=[1, 0.5], eta_min=0, eta_min_ratio=0.1)
    with pytest.raises(AssertionError):
        kind(optimizer, param_name="lr", periods=[4, 5], restart_weights=[1, 0.5, 0.0], eta_min=0)
    scheduler = kind(optimizer, param_name="lr", periods=[4, 5], restart_weights=[1, 0.5], eta_min=0)
    assert_values(optimizer, scheduler, RESTARTS)


def test_one_cycle(optimizer):
    scheduler = kinds().OneCycleParamScheduler(
        optimizer, param_name="lr", eta_max=25, final_div_factor=1e3, total_steps=10, anneal_strategy="linear"
    )
    single = [1, 13, 25] + [25 + (0.001 - 25) * i / 7 for i in range(1, 8)]
    assert_values(optimizer, scheduler, single, scaled=False)


def test_one_cycle_in_three_phases():
    optimizer = sgd()
    scheduler = kinds().OneCycleParamScheduler(
        optimizer,
        param_name="lr",
        eta_max=25,
        div_factor=25,
        total_steps=10,
        anneal_strategy="linear",
        pct_start=0.4,
        final_div_factor=1e4,
        three_phase=True,
    )
    single = [1, 9, 17, 25, 17, 9, 1, 2 / 3, 1 / 3, 1e-4]
    for step, expected in enumerate(single):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, abs=1e-3), step
        scheduler.step()


# -- several on one entry ----------------------------------------------------------------------------------------------
def test_one_after_the_other(optimizer):
    room = kinds()
    single = [0.025, 0.03125, 0.0375, 0.04375] + [LR] * 4 + [LR / 10] * 3 + [LR / 100]
    both = [
        room.LinearParamScheduler(optimizer, param_name="lr", start_factor=1 / 2, begin=0, end=5),
        room.MultiStepParamScheduler(optimizer, param_name="lr", gamma=0.1, milestones=[3, 6], begin=5, end=12),
    ]
    assert_values(optimizer, both, single)


def test_both_at_once(optimizer):
    room = kinds()
    single = [0.025, 0.03125, 0.0375, 0.004375] + [0.005] * 2 + [0.0005] * 3 + [0.00005]
    both = [
        room.LinearParamScheduler(optimizer, param_name="lr", start_factor=1 / 2, begin=0, end=5),
        room.MultiStepParamScheduler(optimizer, param_name="lr", gamma=0.1, milestones=[3, 6, 9]),
    ]
    assert_values(optimizer, both, single)


@pytest.mark.parametrize("gap", [0, 5])
def test_an_exponential_and_a_cosine(optimizer, gap):
    room = kinds()
    low = 1e-10

    def values(base):
        found = [base * 0.9**x for x in range(5)]
        top = found[-1]
        return [*found, *[top] * gap, *[low + (top - low) * (1 + math.cos(math.pi * x / 5)) / 2 for x in range(5)]]

    both = [
        room.ExponentialParamScheduler(optimizer, param_name="lr", gamma=0.9, begin=0, end=5),
        room.CosineAnnealingParamScheduler(
            optimizer, param_name="lr", T_max=5, eta_min=low, begin=5 + gap, end=10 + gap
        ),
    ]
    assert_values(optimizer, both, [values(LR), values(LR * MULT)])


# -- from epochs to iterations -----------------------------------------------------------------------------------------
CONVERTED = {
    "Step": ({"gamma": 0.1, "step_size": 2}, [LR] * 14 + [LR / 10] * 14 + [LR / 100] * 14),
    "MultiStep": ({"gamma": 0.1, "milestones": [2, 5]}, [LR] * 14 + [LR / 10] * 21 + [LR / 100] * 14),
    "Constant": ({"factor": 1 / 2, "end": 5}, [LR / 2] * 34 + [LR] * 10),
    "Linear": ({"start_factor": 1 / 2, "end": 5}, [LR * (1 / 2 + i / 2 / 34) for i in range(34)] + [LR] * 10),
    "Exponential": ({"gamma": 0.9}, [LR * 0.9**x for x in range(70)]),
    "CosineRestart": (
        {"periods": [4, 5], "restart_weights": [1, 0.5], "eta_min": 0},
        [LR * (1 + math.cos(math.pi * x / 28)) / 2 for x in range(28)]
        + [LR / 4 * (1 + math.cos(math.pi * x / 35)) for x in range(35)],
    ),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_conversions(optimizer, kind):
    settings, single = CONVERTED[kind]
    scheduler = getattr(kinds(), f"{kind}ParamScheduler")
    for wrong in (-1, 0, None):
        with pytest.raises(AssertionError):
            scheduler.build_iter_from_epoch(optimizer, param_name="lr", epoch_length=wrong, **settings)
    with pytest.raises(AssertionError):
        scheduler.build_iter_from_epoch(optimizer, param_name="lr", epoch_length=7, by_epoch=False, **settings)
    built = scheduler.build_iter_from_epoch(optimizer, param_name="lr", epoch_length=7, **settings)
    assert not built.by_epoch
    assert_values(optimizer, built, single)


# -- states ------------------------------------------------------------------------------------------------------------
STATES = {
    "Step": ({"gamma": 0.1, "step_size": 3}, {"gamma": 0.01 / 2, "step_size": 1}),
    "MultiStep": ({"gamma": 0.1, "milestones": [2, 5, 9]}, {"gamma": 0.01, "milestones": [1, 4, 6]}),
    "Exponential": ({"gamma": 0.1}, {"gamma": 0.01}),
    "CosineAnnealing": ({"T_max": 10, "eta_min": 1e-10}, {"T_max": 10 // 2, "eta_min": 1e-10 / 2}),
    "Linear": ({"start_factor": 1 / 3}, {"start_factor": 0.1, "end_factor": 0.3}),
    "CosineRestart": (
        {"periods": [4, 5], "restart_weights": [1, 0.5], "eta_min": 0},
        {"periods": [4, 6], "restart_weights": [1, 0.5], "eta_min": 0},
    ),
    "Poly": ({"power": 0.5, "eta_min": 0.001}, {"power": 0.8, "eta_min": 0.002}),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_state_is_all_there_is(optimizer, kind, tmp_path):
    one, other = STATES[kind]
    scheduler = getattr(kinds(), f"{kind}ParamScheduler")
    first = scheduler(optimizer, param_name="lr", **one)
    for _ in range(10):
        optimizer.step()
        first.step()
    second = scheduler(optimizer, param_name="lr", **other)
    torch.save(first.state_dict(), tmp_path / "state.pth")
    second.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=False))
    for key in vars(first):
        if key != "optimizer":
            assert vars(first)[key] == vars(second)[key], key
    assert first.get_last_value() == second.get_last_value()
