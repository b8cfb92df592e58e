from collections import OrderedDict

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError
from trainwright.checkpoint import load_weights, revised, weights_of


class Net(nn.Module):
    def __init__(self, n_out=2):
        super().__init__()
        self.body = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, n_out)


class Counting(nn.Module):
    """Has state that is no tensor."""

    def __init__(self, seen=0):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.seen = seen

    def get_extra_state(self):
        return {"seen": self.seen}

    def set_extra_state(self, state):
        self.seen = state["seen"]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_where_the_weights_are():
    state = {"w": torch.ones(1)}
    assert weights_of({"state_dict": state, "meta": {}}) is state
    assert weights_of({"model": state, "iteration": 3}) is state
    assert weights_of(state) is state
    assert weights_of({"model": torch.ones(1)})["model"].shape == (1,)  # a weight of that name


def test_keys_are_revised_in_order():
    state = OrderedDict({"module.a.w": 1, "b": 2})
    assert dict(revised(state, [(r"^module\.", ""), (r"^a\.", "c.")])) == {"c.w": 1, "b": 2}
    assert list(state) == ["module.a.w", "b"]
    versions = nn.BatchNorm1d(2).state_dict()
    assert revised(versions, [("^", "bn.")])._metadata == versions._metadata


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_all_fits(strict, prefix, capsys):
    source, target = Net(), Net()
    state = {prefix + name: value for name, value in source.state_dict().items()}
    load_weights(target, {"state_dict": state, "meta": {"iter": 1}}, strict=strict)
    assert same(source, target)
    assert capsys.readouterr().err == ""


def test_other_names_by_revise_keys():
    source, target = Net(), Net()
    state = {f"encoder.{name}": value for name, value in source.state_dict().items()}
    load_weights(target, state, strict=True, revise_keys=[(r"^encoder\.", "")])
    assert same(source, target)


def mismatched():
    state = Net(n_out=5).state_dict()
    del state["body.bias"]
    state["neck.weight"] = torch.ones(1)
    return state


REPORT = [
    "missing in the checkpoint: body.bias",
    "not in the model: neck.weight",
    "head.weight: (5, 4) in the checkpoint, (2, 4) in the model",
    "head.bias: (5,) in the checkpoint, (2,) in the model",
]


def test_what_does_not_fit_is_reported_and_the_rest_loaded(capsys):
    target, state = Net(), mismatched()
    bias = target.body.bias.detach().clone()
    load_weights(target, state)
    said = capsys.readouterr().err
    for line in [*REPORT, "6 of 9 weights were loaded into Net"]:
        assert line in said
    assert torch.equal(target.body.weight, state["body.weight"])
    assert torch.equal(target.body.bias, bias)


def test_strict_raises_the_same_report_and_loads_nothing():
    target = Net()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(target, mismatched(), strict=True)
    for line in ["strict loading into Net failed", *REPORT]:
        assert line in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


@pytest.mark.parametrize("strict", [False, True])
def test_a_file_with_nothing_in_common_is_an_error_in_either_mode(strict):
    with pytest.raises(CheckpointError) as caught:
        load_weights(Net(), {"conv1.weight": torch.ones(1), "conv1.bias": torch.ones(1)}, strict=strict)
    message = str(caught.value)
    assert "no weight of the checkpoint fits Net" in message
    assert "'conv1.weight', 'conv1.bias'" in message
    assert "'body.weight', 'body.bias', 'norm.weight'" in message
    assert "revise_keys" in message


def test_an_empty_file():
    with pytest.raises(CheckpointError, match="names such as none"):
        load_weights(Net(), {"state_dict": {}})


def test_a_model_without_weights_takes_anything():
    load_weights(nn.ReLU(), {"state_dict": {}})


def test_old_files_without_batch_counters_load_as_torch_loads_them():
    source, target = Net(), Net()
    state = OrderedDict((k, v) for k, v in source.state_dict().items() if "num_batches_tracked" not in k)
    load_weights(target, state)
    assert torch.equal(target.norm.weight, source.norm.weight)


def test_state_that_is_no_tensor(capsys):
    target = Counting()
    load_weights(target, Counting(seen=7).state_dict(), strict=True)
    assert target.seen == 7
    load_weights(target, {"weight": torch.ones(2), "_extra_state": torch.ones(1)})
    assert target.seen == 7
    assert "_extra_state: (1,) in the checkpoint, no tensor in the model" in capsys.readouterr().err
