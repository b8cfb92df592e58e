"""Parameter groups by rules, compared with MMCV 1.7.2 where it is installed, and what is refused with which words."""

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.compat.mmcv1.runner import optimizer as ours


class DeformConv2d(nn.Module):
    """By its name a deformable convolution."""

    def __init__(self):
        super().__init__()
        self.conv_offset = nn.Conv2d(2, 4, 1)
        self.bias = nn.Parameter(torch.zeros(2))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 1)
        self.norm = nn.BatchNorm2d(2)
        self.depthwise = nn.Conv2d(2, 2, 3, groups=2)
        self.blocks = nn.ModuleList(
            [nn.Linear(2, 2), nn.LayerNorm(2), nn.GroupNorm(1, 2), nn.InstanceNorm1d(2, affine=True)]
        )
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.alone = nn.Parameter(torch.ones(1))


RULES = [
    {},
    {"norm_decay_mult": 0.0, "bias_decay_mult": 0.0},
    {"bias_lr_mult": 2.0, "bias_decay_mult": 0.5, "norm_decay_mult": 0.25, "dwconv_decay_mult": 0.1},
    {"custom_keys": {"blocks": {"lr_mult": 0.1}, "blocks.0": {"lr_mult": 10, "decay_mult": 0}, "alone": {}}},
    {"bypass_duplicate": True, "dwconv_decay_mult": 0.0},
]


def groups(optimizer):
    return [
        (len(group["params"]), group["lr"], group["weight_decay"], group["momentum"])
        for group in optimizer.param_groups
    ]


@pytest.mark.parametrize("rules", RULES)
def test_groups_are_those_of_mmcv(mmcv, rules):
    model = Net()
    cfg = {"type": "SGD", "lr": 0.3, "weight_decay": 0.07, "momentum": 0.9, "paramwise_cfg": rules}
    before = repr(cfg)
    through_face = mmcv.runner.build_optimizer(model, cfg)
    own = ours.build_optimizer(model, cfg)
    assert repr(cfg) == before
    assert groups(through_face) == groups(own)
    for one, other in zip(through_face.param_groups, own.param_groups, strict=True):
        assert all(a is b for a, b in zip(one["params"], other["params"], strict=True))


def test_offsets_of_deformable_convolutions():
    cfg = {"type": "SGD", "lr": 1.0, "weight_decay": 1.0}
    rules = {"dcn_offset_lr_mult": 0.1, "bias_lr_mult": 3.0, "bias_decay_mult": 0.5}
    model = DeformConv2d()
    found = {
        id(group["params"][0]): (group["lr"], group["weight_decay"])
        for group in ours.build_optimizer(nn.Sequential(model), {**cfg, "paramwise_cfg": rules}).param_groups
    }
    assert found[id(model.conv_offset.weight)] == (0.1, 1.0)
    assert found[id(model.conv_offset.bias)] == (0.1, 1.0)
    assert found[id(model.bias)] == (3.0, 0.5)


@pytest.mark.parametrize(
    ("optimizer", "rules", "kind", "text"),
    [
        (["SGD"], None, ConfigTypeError, r"optimizer_cfg must be a dict, got \['SGD'\] of type list"),
        ({"lr": 1}, "rules", ConfigTypeError, "paramwise_cfg must be a dict or None, got 'rules' of type str"),
        ({"lr": 1}, {"custom_keys": [1]}, ConfigTypeError, r"custom_keys must be a dict of dicts, .*got \[1\]"),
        ({"lr": 1}, {"bias_decay_mult": 1}, ConfigError, "has bias_decay_mult, a factor on weight_decay, and base_wd"),
        ({"lr": 1}, {"custom_keys": {"a": {"decay_mult": 1}}}, ConfigError, "has decay_mult of 'a', a factor on"),
    ],
)
def test_what_is_refused(optimizer, rules, kind, text):
    with pytest.raises(kind, match=text):
        ours.DefaultOptimizerConstructor(optimizer, rules)


def test_a_factor_on_an_lr_that_is_not_there():
    with pytest.raises(ConfigError, match=r"has a factor on lr, and the optimizer sets no lr: write lr=\.\.\. into it"):
        ours.build_optimizer(Net(), {"type": "Adam", "paramwise_cfg": {"bias_lr_mult": 2}})
    default = ours.build_optimizer(Net(), {"type": "Adam", "paramwise_cfg": {"bypass_duplicate": True}})
    assert {group["lr"] for group in default.param_groups} == {0.001}


def test_a_shared_parameter_is_taken_once():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    model[1].weight = model[0].weight
    with pytest.warns(UserWarning, match="^1 is duplicate. It is skipped since bypass_duplicate=True$"):
        optimizer = ours.build_optimizer(model, {"type": "SGD", "lr": 1, "paramwise_cfg": {"bypass_duplicate": True}})
    assert len(optimizer.param_groups) == 3
