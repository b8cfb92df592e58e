"""What is in tensors, and where it stops being finite."""

import numpy as np
import pytest
import torch
from torch import nn

from trainwright.runner.diagnosis import (
    add_bad_gradients,
    bad_rows,
    bad_weights,
    facts,
    is_finite,
    looking_for_bad_modules,
    tensors_in,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.tensor([1.0, NAN, -2.5, INF]), "x: float32 (4,), 1 NaN and 1 infinite of 4, from -2.5 to 1"),
        (torch.tensor([[3, 1]]), "x: int64 (1, 2), finite, from 1 to 3"),
        (torch.tensor([True, False]), "x: bool (2,), finite, from 0 to 1"),
        (torch.tensor(NAN), "x: float32 (), 1 NaN of 1"),
        (torch.tensor([NAN] * 1200, dtype=torch.bfloat16), "x: bfloat16 (1200,), 1,200 NaN of 1,200"),
        (torch.zeros(0), "x: float32 (0,), finite"),
        (torch.zeros(0, dtype=torch.int32), "x: int32 (0,), finite"),
        (torch.tensor([1 + 2j, complex(INF, 0)]), "x: complex64 (2,), 1 infinite of 2, from 0 to 2"),
        (torch.tensor([0.0, NAN]).to_sparse(), "x: float32 (2,), 1 NaN of 2"),
    ],
)
def test_facts(tensor, text):
    assert str(facts("x", tensor)) == text
    assert facts("x", tensor).is_finite is (" NaN" not in text and "infinite" not in text)


def test_tensors_within_containers():
    data = {"a": [torch.ones(1), "text"], "b": (np.zeros(2), {"c": torch.ones(3)}), "n": 1, "o": np.array(["x"])}
    assert [name for name, _ in tensors_in(data, "batch")] == ["batch['a'][0]", "batch['b'][0]", "batch['b'][1]['c']"]
    assert is_finite(data)
    assert not is_finite([{"a": torch.tensor([1.0, INF])}])


def test_rows_of_a_batch():
    assert bad_rows(torch.tensor([[1.0, 2.0], [NAN, 1.0], [1.0, INF]])) == [1, 2]
    assert bad_rows(torch.tensor([1.0, -INF])) == [1]
    assert bad_rows(torch.ones(3, dtype=torch.long)) == bad_rows(torch.tensor(NAN)) == bad_rows(torch.zeros(0, 2)) == []


class Masking(nn.Module):
    """Gives minus infinity on purpose."""

    def forward(self, x):
        return x.masked_fill(x > 0, -INF)


class Softmax(nn.Module):
    def forward(self, x, times=1.0):
        return torch.softmax(x, -1) * times


def test_a_mask_is_followed_by_the_first_nan():
    model = nn.Sequential(Masking(), nn.Sequential(Softmax()), nn.Linear(2, 2))
    found = []
    with looking_for_bad_modules(model, found):
        model(torch.ones(1, 2))
    assert [(one.name, one.kind, one.inputs_finite) for one in found] == [
        ("0", "Masking", True),
        ("1.0", "Softmax", False),
    ]
    model(torch.ones(1, 2))
    assert len(found) == 2
    assert not any(module._forward_hooks for module in model.modules())


def test_the_hooks_go_when_the_forward_fails():
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="shapes"), looking_for_bad_modules(model, []):
        model(torch.ones(1, 3))
    assert not model._forward_hooks


def test_weights_and_gradients():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model[1].running_var[0] = INF
    assert [one.name for one in bad_weights(model)] == ["1.running_var"]
    model[0].weight.grad = torch.tensor([[1.0, NAN], [0.0, 0.0]])
    model[0].bias.grad = torch.zeros(2)
    found = []
    add_bad_gradients(found, model)
    add_bad_gradients(found, model)
    assert [str(one) for one in found] == ["0.weight: float32 (2, 2), 1 NaN of 4, from 0 to 1"]
