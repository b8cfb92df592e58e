"""A schedule that is stepped before its optimizer, where that is warned of."""

import warnings

import pytest
import torch
from torch import nn

from trainwright.base.defaults import defaults
from trainwright.optim import ExponentialLR, OptimWrapper, StepLR


@pytest.fixture(params=["raw", "wrapped"])
def optimizer(request, monkeypatch):
    monkeypatch.setattr(defaults, "checks_step_order", True)
    raw = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    return raw if request.param == "raw" else OptimWrapper(raw)


def test_the_wrong_order_is_warned_of_once(optimizer):
    scheduler = StepLR(optimizer, step_size=1)
    with pytest.warns(UserWarning, match=r"call `optimizer.step\(\)` before `scheduler.step\(\)`") as caught:
        scheduler.step()
    assert [warning.filename for warning in caught] == [__file__]
    scheduler.step()


def test_a_replaced_step_is_warned_of(optimizer):
    scheduler = StepLR(optimizer, step_size=1)
    optimizer.step = lambda: None
    optimizer.step()
    with pytest.warns(UserWarning, match="or has a `step` that was put there after"):
        scheduler.step()


def test_nothing_is_left_of_it_after_one_step(optimizer):
    schedulers = [StepLR(optimizer, step_size=1), ExponentialLR(optimizer, gamma=0.9)]
    optimizer.step()
    for scheduler in schedulers:
        scheduler.step()
    assert "step" not in vars(optimizer)
    raw = getattr(optimizer, "optimizer", optimizer)
    assert not raw._optimizer_step_post_hooks
    later = StepLR(optimizer, step_size=1)
    with pytest.warns(UserWarning, match="has not made a step"):
        later.step()


def test_updates_count_as_steps(monkeypatch):
    monkeypatch.setattr(defaults, "checks_step_order", True)
    model = nn.Linear(1, 1)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    scheduler = StepLR(wrapper, step_size=1)
    wrapper.update_params(model(torch.ones(1, 1)).sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
    assert wrapper._is_plain


def test_without_the_default_nothing_is_watched():
    raw = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    scheduler = StepLR(raw, step_size=1)
    scheduler.step()
    assert not raw._optimizer_step_post_hooks
