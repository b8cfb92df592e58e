"""Stepping without torch's profiler range: the same numbers, and nobody who listens is passed over."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from trainwright.optim import OptimWrapper, direct


def _problem(kind=torch.optim.SGD, **kwargs):
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = kind(model.parameters(), lr=0.1, **kwargs)
    return model, optimizer, torch.randn(5, 4)


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        (torch.optim.SGD, {"momentum": 0.9}),
        (torch.optim.AdamW, {}),
        (torch.optim.Adam, {"foreach": True}),
        (torch.optim.RMSprop, {}),
    ],
)
def test_same_bits_as_torch(kind, kwargs):
    model, optimizer, x = _problem(kind, **kwargs)
    reference, plain, _ = _problem(kind, **kwargs)
    for _ in range(5):
        model(x).square().sum().backward()
        direct.step(optimizer)
        direct.zero_grad(optimizer)
        reference(x).square().sum().backward()
        plain.step()
        plain.zero_grad()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), reference.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_step_hooks_are_called():
    model, optimizer, x = _problem()
    calls = []
    handle = optimizer.register_step_pre_hook(lambda *_: calls.append("own"))
    everywhere = register_optimizer_step_post_hook(lambda *_: calls.append("global"))
    model(x).sum().backward()
    OptimWrapper(optimizer).step()
    handle.remove()
    everywhere.remove()
    OptimWrapper(optimizer).step()
    assert calls == ["own", "global"]


def test_ranges_are_there_for_a_profiler():
    model, optimizer, x = _problem()
    wrapper = OptimWrapper(optimizer)
    wrapper.update_params(model(x).sum())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        wrapper.update_params(model(x).sum())
    names = {event.key for event in profiler.key_averages()}
    assert {"Optimizer.step#SGD.step", "Optimizer.zero_grad#SGD.zero_grad"} <= names


def test_replaced_methods_are_called():
    model, optimizer, x = _problem()
    optimizer.step, optimizer.zero_grad = mock.Mock(), mock.Mock()
    OptimWrapper(optimizer).update_params(model(x).sum())
    optimizer.step.assert_called_once_with()
    optimizer.zero_grad.assert_called_once_with()


def test_own_optimizers_are_called():
    class Own(torch.optim.SGD):
        n_steps = 0

        def step(self, closure=None):
            self.n_steps += 1
            return super().step(closure)

        def zero_grad(self, set_to_none=True):
            self.n_steps += 100
            super().zero_grad(set_to_none)

    model, optimizer, x = _problem(Own)
    OptimWrapper(optimizer).update_params(model(x).sum())
    assert optimizer.n_steps == 101
    assert all(p.grad is None for p in model.parameters())


def test_a_patched_class_is_called():
    model, optimizer, x = _problem()
    model(x).sum().backward()
    direct.step(optimizer)
    with mock.patch.object(torch.optim.SGD, "step", autospec=True) as patched:
        direct.step(optimizer)
    patched.assert_called_once_with(optimizer)


def test_an_unknown_torch_gets_its_own_methods(monkeypatch):
    monkeypatch.setattr(direct, "_KNOWS_TORCH", False)
    model, optimizer, x = _problem()
    with mock.patch.object(torch.optim.Optimizer, "zero_grad", autospec=True) as patched:
        direct.zero_grad(optimizer)
    patched.assert_called_once_with(optimizer)


def test_a_scheduler_of_torch_that_notes_the_step_is_told_and_costs_no_range():
    model, optimizer, x = _problem()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)  # replaces optimizer.step
    model(x).sum().backward()
    with mock.patch.object(torch.autograd.profiler, "record_function", side_effect=AssertionError):
        OptimWrapper(optimizer).step()
    scheduler.step()  # warns, where it has not been told of a step
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_a_step_that_was_replaced_before_a_scheduler_came_is_called():
    model, optimizer, x = _problem()
    plain, calls = type(optimizer).step, []

    def step(self):
        calls.append("own")
        return plain(self)

    optimizer.step = step.__get__(optimizer)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    model(x).sum().backward()
    OptimWrapper(optimizer).step()
    assert calls == ["own"]
