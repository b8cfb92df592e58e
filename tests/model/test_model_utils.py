"""Stacking, merging, parameters out of reach, wrappers."""

import pytest
import torch
from torch import fx, nn

from trainwright.base.errors import ConfigError, ConfigTypeError, DataError
from trainwright.model import detect_anomalous_params, is_model_wrapper, merge_dict, stack_batch
from trainwright.registry import MODEL_WRAPPERS, Registry


def test_stack_batch():
    one, other = torch.rand(3, 2, 5), torch.rand(3, 4, 1)
    batch = stack_batch([one, other], 3, 0.5)
    assert batch.shape == (2, 3, 6, 6)
    assert torch.equal(batch[0, :, :2, :5], one)
    assert torch.equal(batch[1, :, :4, :1], other)
    assert batch.sum() == pytest.approx((one.sum() + other.sum() + 0.5 * (2 * 3 * 36 - 30 - 12)).item())
    assert torch.equal(stack_batch([one, one]), torch.stack([one, one]))
    assert stack_batch([torch.ones(2), torch.ones(2)], 32).shape == (2, 2)
    assert stack_batch([torch.ones(1, 2, dtype=torch.int32), torch.ones(1, 3)]).dtype == torch.float32


def test_stacking_lets_gradients_through():
    image = torch.ones(1, 2, requires_grad=True)
    (stack_batch([image, torch.ones(1, 3)]) ** 2).sum().backward()
    assert image.grad.tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize(
    ("tensors", "divisor", "error", "message"),
    [
        ((torch.ones(1),), 1, ConfigTypeError, "to be list, of tensors, in stack_batch; got tuple"),
        ([], 1, DataError, "could not be an empty list"),
        ([torch.ones(1, 2), torch.ones(1)], 1, DataError, r"sample 0 has shape \(1, 2\), sample 1 has \(1,\)"),
        ([torch.ones(1, 2)], 0, ConfigError, "pad_size_divisor must be at least 1.*got 0"),
    ],
)
def test_what_cannot_be_stacked(tensors, divisor, error, message):
    with pytest.raises(error, match=message):
        stack_batch(tensors, divisor)


def test_merge_dict():
    assert merge_dict({"a": 1}, {"b": 2}, {"a": 3}) == {"a": 3, "b": 2}
    assert merge_dict() == {}
    with pytest.raises(ConfigTypeError, match="merge_dict should be a dict, got list"):
        merge_dict({}, [1])


class Losses(nn.Module):
    def forward(self, x):
        return merge_dict({"a": x}, {"b": x + 1})


def test_merge_dict_can_be_traced():
    traced = fx.symbolic_trace(Losses())
    assert traced(torch.tensor(1)) == {"a": torch.tensor(1), "b": torch.tensor(2)}


def test_parameters_out_of_reach(capsys):
    model = nn.ModuleDict({"used": nn.Linear(2, 1), "unused": nn.Linear(2, 3), "frozen": nn.Linear(1, 1)})
    model["frozen"].requires_grad_(False)
    loss = model["used"](torch.ones(1, 2)).sum()
    for _ in range(2000):  # deeper than Python's stack
        loss = loss + 1
    detect_anomalous_params(loss, model)
    said = capsys.readouterr().err
    assert "unused.weight with shape torch.Size([3, 2]) is not in the computational graph of the loss" in said
    assert "unused.bias" in said
    assert "used.weight with shape torch.Size([1, 2])" not in said
    assert "frozen" not in said


def test_wrappers():
    class Own(nn.Module):
        pass

    assert is_model_wrapper(nn.DataParallel(nn.Linear(1, 1)))
    assert not is_model_wrapper(nn.Linear(1, 1))
    child = Registry("model_wrapper", parent=MODEL_WRAPPERS, scope="wrappers_for_test")
    try:
        child.register_module(module=Own)
        assert is_model_wrapper(Own())
    finally:
        del MODEL_WRAPPERS.children["wrappers_for_test"]
