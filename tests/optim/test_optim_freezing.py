"""Freezing by pattern: requires_grad of custom keys."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.lazy import LazyObject
from trainwright.optim import DefaultOptimWrapperConstructor, build_optim_wrapper

SGD = {"type": "SGD", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.backbone = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.backbone(x * self.scale))


def build(custom_keys, model, **paramwise):
    cfg = {"optimizer": dict(SGD), "paramwise_cfg": {"custom_keys": custom_keys, **paramwise}}
    return build_optim_wrapper(model, cfg)


def trained(wrapper, model):
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for group in wrapper.optimizer.param_groups for p in group["params"]]


def test_a_frozen_part_gets_no_gradient_no_group_and_no_state():
    torch.manual_seed(0)
    model = Net()
    wrapper = build({"backbone": {"requires_grad": False}, "head": {"lr_mult": 2}}, model)
    assert trained(wrapper, model) == ["scale", "head.weight", "head.bias"]
    assert wrapper.get_lr() == {"base_lr": [0.1], "lr": [0.1, 0.2, 0.2]}
    assert all("requires_grad" not in group for group in wrapper.optimizer.param_groups)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(torch.randn(4, 3)).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == {
        name for name in before if name.startswith("backbone")
    }
    wrapper.step()
    assert len(wrapper.optimizer.state) == 3
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) is name.startswith("backbone")


def test_a_frozen_batch_norm_goes_on_taking_statistics_until_it_is_in_eval_mode():
    model = Net()
    build({"backbone": {"requires_grad": False}}, model)
    norm = model.backbone[1]
    model(torch.randn(4, 3) + 5)
    assert not torch.equal(norm.running_mean, torch.zeros(3))
    norm.eval()
    held = norm.running_mean.clone()
    model(torch.randn(4, 3))
    assert torch.equal(norm.running_mean, held)


def test_the_longest_key_decides():
    model = Net()
    keys = {"backbone": {"requires_grad": False}, "backbone.2": {"requires_grad": True, "lr_mult": 3}}
    wrapper = build({**keys, "backbone.1": {"decay_mult": 0}}, model)
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == [
        "backbone.0.weight",
        "backbone.0.bias",
    ]
    assert wrapper.get_lr()["lr"] == pytest.approx([0.1, 0.1, 0.1, 0.3, 0.3, 0.1, 0.1])


def test_true_trains_what_the_model_had_frozen():
    model = Net().requires_grad_(False)
    assert trained(build({"head": {"requires_grad": True}}, model), model) == ["head.weight", "head.bias"]


def test_freezing_alone_makes_one_group():
    model = Net()
    wrapper = build({"backbone": {"requires_grad": False}, ".scale": {"requires_grad": False}}, model)
    assert len(wrapper.param_groups) == 1
    assert trained(wrapper, model) == ["head.weight", "head.bias"]
    assert len(build({"backbone": {"requires_grad": False}}, Net(), norm_decay_mult=0).optimizer.param_groups) == 3


def test_a_key_freezes_the_names_that_it_gives_settings_to():
    """`.backbone` is in no name that the rules see: only parameters of the model itself begin with a dot."""
    message = "custom_keys has '.backbone', which no parameter name of Net contains. Did you mean 'backbone'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        build({".backbone": {"requires_grad": False}}, Net())


def test_a_subclass_with_rules_of_its_own_sees_what_is_left():
    class Own(DefaultOptimWrapperConstructor):
        def add_params(self, params, module, prefix="", is_dcn_module=None):
            params += [{"params": [p]} for p in module.parameters() if p.requires_grad]

    model = Net()
    cfg = {"optimizer": dict(SGD), "constructor": Own, "paramwise_cfg": {"mine": 1}}
    cfg["paramwise_cfg"]["custom_keys"] = {"backbone": {"requires_grad": False}}
    assert trained(build_optim_wrapper(model, cfg), model) == ["scale", "head.weight", "head.bias"]


def test_nothing_left_to_train_names_the_keys():
    message = (
        "Net has no parameter left to train: with requires_grad=False for 'backbone', 'head', '.scale' in custom_keys "
        "all of them are frozen. Take one out, or set requires_grad=True for a longer key"
    )
    keys = {name: {"requires_grad": False} for name in ("backbone", "head", ".scale")}
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(keys, Net())


def test_nothing_to_train_without_keys_names_the_setting():
    with pytest.raises(ConfigError, match=re.escape("or set requires_grad=True for it in paramwise_cfg custom_keys")):
        build_optim_wrapper(Net().requires_grad_(False), {"optimizer": dict(SGD)})


@pytest.mark.parametrize("value", ["no", 0, None])
def test_a_value_that_is_no_bool(value):
    message = f"requires_grad of custom_keys 'head' must be True or False, got {value!r}"
    with pytest.raises(ConfigTypeError, match=re.escape(message)):
        build({"head": {"requires_grad": value}}, Net())


def test_an_optimizer_that_is_not_imported_yet():
    cfg = {"optimizer": {"type": LazyObject("torch.optim", "SGD"), "lr": 0.1}}
    assert type(build_optim_wrapper(Net(), cfg).optimizer) is torch.optim.SGD
