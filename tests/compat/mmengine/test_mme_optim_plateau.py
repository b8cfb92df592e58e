"""mmengine.optim.scheduler: what falls when a metric stops getting better, of learning rates and momenta."""

import pytest
import torch
from mme_schedules import LR, MULT, sgd

pytestmark = pytest.mark.usefixtures("mmengine")


@pytest.fixture(params=["raw", "wrapped"])
def optimizer(request, mmengine):
    return sgd(wrapped=request.param == "wrapped")


def kind(name="ParamScheduler"):
    from mmengine.optim import scheduler

    return getattr(scheduler, f"ReduceOnPlateau{name}")


def test_settings_that_are_refused(optimizer):
    build = kind()
    with pytest.raises(TypeError):
        build("invalid_optimizer", param_name="lr")
    with pytest.raises(ValueError, match="end"):
        build(optimizer, param_name="lr", begin=10, end=5)
    with pytest.raises(AssertionError):
        build(optimizer, param_name="lr", by_epoch=False)
    for last_step in (1.5, -2):
        with pytest.raises(AssertionError):
            build(optimizer, param_name="lr", last_step=last_step)
    for wrong in (
        {"factor": 2.0},
        {"min_value": [0.1] * 4},
        {"threshold": -1.0},
        {"rule": "foo"},
        {"threshold_rule": "foo"},
    ):
        with pytest.raises(ValueError, match=r"\w+"):
            build(optimizer, param_name="lr", **wrong)
    build(optimizer, param_name="lr", min_value=[0.1, 0.1])


def test_metrics_that_are_refused(optimizer):
    scheduler = kind()(optimizer, param_name="lr", monitor="loss")
    assert scheduler.step() is None
    with pytest.raises(TypeError):
        scheduler.step(("foo", 1.0))
    with pytest.raises(KeyError):
        scheduler.step({"loss_foo": 1.0})


CASES = [
    # rule, threshold rule, threshold, metrics, the factor at each epoch
    ("less", "rel", 0.01, [10, 9, 8, 7, 6, 6, 6, 6, 6, 6], [1] * 8 + [0.1] * 2),
    ("less", "abs", 0.5, [10, 9, 8, 7, 6, 6, 6, 6, 6, 6], [1] * 8 + [0.1] * 2),
    ("greater", "rel", 0.01, [1, 2, 3, 4, 5, 5, 5, 5, 5, 5], [1] * 8 + [0.1] * 2),
    ("greater", "abs", 0.5, [1, 2, 3, 4, 5, 5, 5, 5, 5, 5], [1] * 8 + [0.1] * 2),
    ("less", "rel", 0.01, [1.0] * 10, [1] * 4 + [0.1] * 4 + [0.01] * 2),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[3][0]}")
@pytest.mark.parametrize("low", [0.0, [0.02, 0.2]])
def test_values(optimizer, case, low):
    rule, threshold_rule, threshold, metrics, factors = case
    scheduler = kind()(
        optimizer,
        param_name="lr",
        monitor="loss",
        rule=rule,
        factor=0.1,
        patience=2,
        threshold=threshold,
        threshold_rule=threshold_rule,
        cooldown=0 if metrics[0] == metrics[1] else 1,
        min_value=low,
    )
    lows = low if isinstance(low, list) else [low, low]
    for step, (metric, factor) in enumerate(zip(metrics, factors, strict=True)):
        if metrics[0] == metrics[1]:  # worse from the second validation on: falls after each three
            bad = step - 1
            factor = 0.1 ** (max(bad, 0) // 3)
        expected = [max(LR * factor, lows[0]), max(LR * MULT * factor, lows[1])]
        found = [group["lr"] for group in optimizer.param_groups][:2]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        scheduler.step()
        scheduler.step({"loss": float(metric)})


def test_a_learning_rate(optimizer):
    scheduler = kind("LR")(optimizer, monitor="loss", patience=0, factor=0.5)
    for _ in range(2):
        scheduler.step({"loss": 1.0})
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR / 2)
    assert scheduler.need_val_args is True


def test_a_state(optimizer):
    first = kind()(optimizer, param_name="lr", monitor="loss", patience=1)
    for value in (3.0, 2.0, 2.0, 2.0, 2.0):
        first.step()
        first.step({"loss": value})
    second = kind()(optimizer, param_name="lr", monitor="acc", patience=3)
    second.load_state_dict(first.state_dict())
    for key in vars(first):
        if key != "optimizer":
            assert vars(first)[key] == vars(second)[key], key
    assert first.get_last_value() == second.get_last_value()
