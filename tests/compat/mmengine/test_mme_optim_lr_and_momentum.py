"""mmengine.optim.scheduler: schedules of learning rates, and of momenta or first betas."""

import math

import pytest
import torch
from mme_schedules import LR, MULT, adam_of_betas, assert_values, groups, sgd, sgd_of_momenta

pytestmark = [
    pytest.mark.usefixtures("mmengine"),
    pytest.mark.filterwarnings("ignore:.*optimizer.step.*:UserWarning"),
]


def values_of(low):
    return [[low + (base - low) * (1 + math.cos(math.pi * x / 10)) / 2 for x in range(12)] for base in (LR, LR * MULT)]


CASES = {
    "Step": ({"gamma": 0.1, "step_size": 3}, [LR] * 3 + [LR / 10] * 3 + [LR / 100] * 3),
    "MultiStep": ({"gamma": 0.1, "milestones": [2, 5, 9]}, [LR] * 2 + [LR / 10] * 3 + [LR / 100] * 4 + [LR / 1000]),
    "Constant": ({"factor": 1 / 2, "end": 5}, [LR / 2] * 4 + [LR] * 4),
    "Linear": ({"start_factor": 1 / 2, "end": 5}, [0.025, 0.03125, 0.0375, 0.04375] + [LR] * 4),
    "Exponential": ({"gamma": 0.9}, [LR * 0.9**x for x in range(10)]),
    "CosineAnnealing": ({"T_max": 10, "eta_min": 1e-3}, values_of(1e-3)),
    "Poly": ({"power": 1.0, "eta_min": 0, "end": 5}, [LR * (1 - i / 4) for i in range(4)] + [0] * 3),
    "CosineRestart": (
        {"periods": [4], "restart_weights": [1], "eta_min": 0},
        [LR * (1 + math.cos(math.pi * x / 4)) / 2 for x in range(4)],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_learning_rates(case, wrapped):
    from mmengine.optim import scheduler

    settings, values = CASES[case]
    optimizer = sgd(wrapped)
    assert_values(optimizer, getattr(scheduler, f"{case}LR")(optimizer, **settings), values)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("make", [sgd_of_momenta, adam_of_betas])
def test_momenta(case, make, wrapped):
    from mmengine.optim import scheduler

    settings, values = CASES[case]
    optimizer = make(wrapped)
    built = getattr(scheduler, f"{case}Momentum")(optimizer, **settings)
    assert built.use_betas == (make is adam_of_betas)
    assert_values(optimizer, built, values, name="momentum")
    if make is adam_of_betas:
        for group in optimizer.param_groups[:2]:
            assert group["betas"] == (group["momentum"], 0.999)


@pytest.mark.parametrize("case", CASES)
def test_conversions(case):
    from mmengine.optim import scheduler

    settings, _ = CASES[case]
    for kind, optimizer in ((f"{case}LR", sgd()), (f"{case}Momentum", adam_of_betas())):
        built = getattr(scheduler, kind).build_iter_from_epoch(optimizer, epoch_length=7, **settings)
        assert not built.by_epoch
        with pytest.raises(AssertionError):
            getattr(scheduler, kind).build_iter_from_epoch(optimizer, epoch_length=-1, **settings)


def test_optimizers_that_are_refused():
    from mmengine.optim import scheduler

    with pytest.raises(TypeError, match="should be an Optimizer"):
        scheduler.StepLR("invalid_optimizer", step_size=1)
    with pytest.raises(ValueError, match="optimizer must support momentum when using momentum scheduler"):
        scheduler.StepMomentum(torch.optim.Rprop(groups(), lr=0.01), step_size=1)
    with pytest.raises(KeyError, match="param 'initial_momentum' is not specified"):
        scheduler.StepMomentum(sgd(), gamma=0.1, step_size=3, last_step=10)
    with pytest.raises(KeyError, match="param 'initial_lr' is not specified"):
        scheduler.StepLR(sgd(), gamma=0.1, step_size=3, last_step=10)


def test_one_cycle():
    from mmengine.optim.scheduler import OneCycleLR

    optimizer = sgd()
    scheduler = OneCycleLR(optimizer, eta_max=0.1, total_steps=10, anneal_strategy="linear")
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 / 25)
    for _ in range(2):
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_the_base_value_is_scheduled_with_the_others():
    from mmengine.optim import scheduler

    wrapper = sgd(wrapped=True)
    built = scheduler.StepLR(wrapper, step_size=1, gamma=0.1)
    built.step()
    assert wrapper.get_lr()["base_lr"] == [pytest.approx(LR / 10)]
    assert len(wrapper.param_groups) == 3
    assert wrapper.param_groups[2] is wrapper.base_param_settings
