"""Several optimizers under names."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from trainwright.base.errors import CheckpointError, ConfigTypeError
from trainwright.optim import OptimWrapper, OptimWrapperDict


@pytest.fixture
def parts() -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict({"generator": nn.Linear(3, 3), "critic": nn.Linear(3, 1)})


def make(parts: nn.ModuleDict, lr: float = 0.1) -> OptimWrapperDict:
    return OptimWrapperDict(
        generator=OptimWrapper(torch.optim.SGD(parts["generator"].parameters(), lr=lr, momentum=0.9)),
        critic=OptimWrapper(torch.optim.AdamW(parts["critic"].parameters(), lr=lr / 2), accumulative_counts=2),
    )


def test_it_is_a_mapping_of_wrappers(parts):
    wrappers = make(parts)
    assert list(wrappers) == list(wrappers.keys()) == ["generator", "critic"]
    assert len(wrappers) == 2
    assert "critic" in wrappers
    assert wrappers["critic"] in wrappers.values()
    assert dict(wrappers.items()) == wrappers.optim_wrappers
    assert isinstance(wrappers, OptimWrapper)
    assert repr(wrappers).startswith("name: generator\nType: OptimWrapper\n_accumulative_counts: 1\n")


def test_values_come_under_names(parts):
    wrappers = make(parts)
    assert wrappers.get_lr() == {"generator.lr": [0.1], "critic.lr": [0.05]}
    assert wrappers.get_momentum() == {"generator.momentum": [0.9], "critic.momentum": [0.9]}
    assert wrappers.param_groups["critic"] is wrappers["critic"].param_groups
    assert wrappers.defaults["generator"]["lr"] == 0.1


def test_each_is_updated_by_name(parts):
    wrappers = make(parts)
    wrappers.initialize_count_status(parts, 0, 100)
    before = parts["critic"].weight.detach().clone()
    for expected in (True, False):
        loss = parts["critic"](parts["generator"](torch.ones(1, 3))).sum()
        wrappers["critic"].update_params(loss)
        assert torch.equal(parts["critic"].weight, before) is expected


def test_state_round_trip(parts):
    wrappers = make(parts)
    wrappers["critic"].update_params(parts["critic"](torch.ones(1, 3)).sum())
    state, counts = wrappers.state_dict(), wrappers.accumulation_state()
    assert counts == {"generator": {"inner_count": 0}, "critic": {"inner_count": 1}}
    fresh = make(parts, lr=7.0)
    fresh.load_state_dict(state)
    fresh.load_accumulation_state(counts)
    assert fresh.get_lr() == wrappers.get_lr()
    assert fresh["critic"].inner_count == 1


def test_a_state_with_an_unknown_name(parts):
    message = "it holds an optimizer 'generater', and this run has generator, critic. Did you mean 'generator'?"
    for load in (make(parts).load_state_dict, make(parts).load_accumulation_state):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            load({"generater": {}})


@pytest.mark.parametrize("method", ["update_params", "backward", "optim_context"])
def test_what_concerns_one_loss_is_refused(parts, method):
    message = f"`{method}` should be called by each optimizer separately, and this OptimWrapperDict holds"
    with pytest.raises(NotImplementedError, match=re.escape(message)):
        getattr(make(parts), method)(torch.ones(()))


@pytest.mark.parametrize("method", ["step", "gradient_scale"])
def test_stepping_is_refused(parts, method):
    with pytest.raises(NotImplementedError, match=re.escape(f"say optim_wrapper['generator'].{method} in the model")):
        getattr(make(parts), method)()


def test_zero_grad_drops_the_gradients_of_all(parts):
    wrappers = make(parts)
    parts["critic"](parts["generator"](torch.ones(1, 3))).sum().backward()
    wrappers.zero_grad(set_to_none=False)
    assert [torch.count_nonzero(p.grad).item() for p in parts.parameters()] == [0, 0, 0, 0]
    wrappers.zero_grad()
    assert [p.grad for p in parts.parameters()] == [None] * 4


def test_each_steps_at_its_own_pace(parts):
    """The critic in every iteration, four of them a step; the generator in every third."""
    wrappers = OptimWrapperDict(
        generator=OptimWrapper(torch.optim.SGD(parts["generator"].parameters(), lr=0.1)),
        critic=OptimWrapper(torch.optim.SGD(parts["critic"].parameters(), lr=0.1), accumulative_counts=4),
    )
    moved = []
    for n in range(12):
        before = [parts[name].weight.detach().clone() for name in ("generator", "critic")]
        wrappers["critic"].update_params(parts["critic"](torch.ones(1, 3)).square().sum())
        if n % 3 == 2:
            wrappers["generator"].update_params(parts["generator"](torch.ones(1, 3)).square().sum())
        moved.append(
            [not torch.equal(parts[m].weight, w) for m, w in zip(("generator", "critic"), before, strict=True)]
        )
    assert moved == [[n % 3 == 2, n % 4 == 3] for n in range(12)]
    assert (wrappers["generator"].inner_count, wrappers["critic"].inner_count) == (4, 12)


def test_an_unknown_name(parts):
    message = "Cannot find critik in OptimWrapperDict, which has generator, critic. Did you mean 'critic'?"
    with pytest.raises(KeyError, match=re.escape(message)):
        make(parts)["critik"]


def test_one_count_is_refused(parts):
    with pytest.raises(NotImplementedError, match="`inner_count` should be called by each optimizer"):
        _ = make(parts).inner_count


def test_entries_must_be_wrappers(parts):
    optimizer = torch.optim.SGD(parts.parameters(), lr=0.1)
    with pytest.raises(
        ConfigTypeError, match=r"only accepts OptimWrapper objects, got generator=SGD .*\n[\s\S]*of type SGD; wrap an"
    ):
        OptimWrapperDict(generator=optimizer)
    with pytest.raises(ConfigTypeError, match="of type OptimWrapperDict"):
        OptimWrapperDict(both=make(parts))


def test_a_loss_left_out_is_counted_by_none(parts):
    wrappers = make(parts)
    wrappers.skip_loss()
    assert [wrapper.inner_count for wrapper in wrappers.values()] == [0, 0]
