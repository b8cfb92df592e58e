"""Learning rates by depth."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError
from trainwright.optim import LearningRateDecayOptimWrapperConstructor, build_optim_wrapper
from trainwright.optim.layer_decay import depths_by_name

SGD = {"type": "SGD", "lr": 0.1, "weight_decay": 0.01}


class Vit(nn.Module):
    def __init__(self, n_blocks: int = 4) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(2))
        self.patch_embed = nn.Linear(2, 2)
        self.layers = nn.ModuleList(nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 2)) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(2)


class Asked(Vit):
    def get_layer_depth(self, param_name, prefix=""):
        if not param_name.startswith(prefix):
            return 9, 10
        found = re.match(r"layers\.(\d+)\.", param_name[len(prefix) :])
        return (2 * int(found[1]) + 1 if found else 0), 10


class Whole(nn.Module):
    def __init__(self, backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


def build(model, optimizer=SGD, **paramwise):
    cfg = {
        "optimizer": optimizer,
        "constructor": "LearningRateDecayOptimWrapperConstructor",
        "paramwise_cfg": paramwise,
    }
    return build_optim_wrapper(model, cfg)


def scales(wrapper):
    """Parameter -> its rate as a share of the base rate."""
    return {group["param_name"]: group["lr"] / 0.1 for group in wrapper.optimizer.param_groups}


def test_a_vision_transformer():
    wrapper = build(Whole(Vit()), layer_decay_rate=0.5, norm_decay_mult=0.0)
    found = scales(wrapper)
    assert found["backbone.cls_token"] == found["backbone.patch_embed.bias"] == pytest.approx(0.5**5)
    for n in range(4):
        assert found[f"backbone.layers.{n}.1.weight"] == pytest.approx(0.5 ** (4 - n))
    assert found["backbone.norm.weight"] == found["head.weight"] == pytest.approx(1.0)
    group = wrapper.optimizer.param_groups[3]
    assert (group["layer_id"], group["lr_scale"]) == (1, 0.5**4)
    assert group["param_name"] == "backbone.layers.0.0.weight"
    assert [g["weight_decay"] for g in wrapper.optimizer.param_groups[3:6]] == [0.0, 0.0, 0.01]


def test_the_rules_of_the_default_constructor_come_first():
    found = scales(build(Vit(1), layer_decay_rate=0.5, bias_lr_mult=3, custom_keys={"norm": {"lr_mult": 10}}))
    assert found["patch_embed.weight"] == pytest.approx(0.25)
    assert found["patch_embed.bias"] == pytest.approx(0.75)
    assert found["norm.bias"] == pytest.approx(10.0)


def test_a_frozen_part_is_left_out():
    found = scales(build(Vit(2), decay_rate=0.5, custom_keys={"layers.0": {"requires_grad": False}}))
    assert not any(name.startswith("layers.0") for name in found)
    assert found["layers.1.1.bias"] == pytest.approx(0.5)
    assert found["cls_token"] == pytest.approx(0.125)


@pytest.mark.parametrize("nested", [False, True])
def test_a_model_that_knows_its_depths_is_asked(nested):
    found = scales(build(Whole(Asked()) if nested else Asked(), layer_decay_rate=0.5))
    prefix = "backbone." if nested else ""
    assert found[f"{prefix}layers.2.0.bias"] == pytest.approx(0.5**4)
    assert found[f"{prefix}cls_token"] == pytest.approx(0.5**9)
    assert found.get("head.weight", 1.0) == pytest.approx(1.0)


def test_a_model_that_hands_the_question_on():
    class Classifier(Whole):
        def get_layer_depth(self, param_name):
            return self.backbone.get_layer_depth(param_name, "backbone.")

    assert scales(build(Classifier(Asked()), layer_decay_rate=0.5)) == scales(
        build(Whole(Asked()), layer_decay_rate=0.5)
    )


CONVNEXT = [
    "downsample_layers.0.0.weight",
    "downsample_layers.1.0.weight",
    "downsample_layers.2.0.weight",
    *[f"stages.{s}.{b}.gamma" for s, n in enumerate((2, 1, 3)) for b in range(n)],
    "norm.weight",
    "head.weight",
]


@pytest.mark.parametrize(
    ("names", "by_stage", "n_layers", "expected"),
    [
        (CONVNEXT, False, None, ([0, 3, 4, 1, 2, 3, 4, 5, 6, 7, 7], 8)),
        (CONVNEXT, True, None, ([0, 2, 3, 1, 1, 2, 3, 3, 3, 4, 4], 5)),
        (CONVNEXT, False, 3, ([0, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4], 5)),
        (["wte.weight", "h.0.attn.weight", "h.1.attn.weight", "ln_f.weight"], False, None, ([0, 1, 2, 3], 4)),
        (["conv1.weight", "layer1.0.w", "layer1.1.w", "layer2.0.w", "fc.w"], False, None, ([0, 1, 2, 3, 4], 5)),
        (["conv1.weight", "layer1.0.w", "layer1.1.w", "layer2.0.w", "fc.w"], True, None, ([0, 1, 1, 2, 3], 4)),
        (["e.w", "layers.0.blocks.0.w", "layers.0.blocks.1.w", "layers.1.blocks.0.w"], False, None, ([0, 1, 2, 3], 5)),
        (["e.w", "blocks.10.w", "blocks.9.w", "n.w"], False, None, ([0, 2, 1, 3], 4)),
    ],
)
def test_depths_by_name(names, by_stage, n_layers, expected):
    depths, n = expected
    assert depths_by_name(names, by_stage, n_layers) == {
        name: (depth, n) for name, depth in zip(names, depths, strict=True)
    }


def test_several_stacks_are_counted_apart():
    names = ["emb.w", "encoder.layers.0.w", "encoder.layers.1.w", "decoder.layers.0.w", "out.w"]
    found = depths_by_name(names, False, None)
    assert list(found.values()) == [(0, 4), (1, 4), (2, 4), (1, 3), (3, 4)]
    assert depths_by_name(["fc.weight"], False, None) is None


def test_a_subclass_may_have_keys_of_its_own():
    class More(LearningRateDecayOptimWrapperConstructor):
        own_keys = (*LearningRateDecayOptimWrapperConstructor.own_keys, "mine")

    cfg = {"optimizer": SGD, "constructor": More, "paramwise_cfg": {"mine": 1, "layer_decay_rate": 1.0}}
    assert set(scales(build_optim_wrapper(Vit(), cfg)).values()) == {1.0}


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        ({"layer_decay_rat": 0.5}, "paramwise_cfg has no setting 'layer_decay_rat'"),
        ({"layer_decay_rate": 0.5, "decay_rate": 0.5}, "has layer_decay_rate and decay_rate, two names of one setting"),
        ({"layer_decay_rate": 0}, "layer_decay_rate must be a number above 0, got 0; 1.0 changes nothing"),
        ({"decay_rate": True}, "layer_decay_rate must be a number above 0, got True"),
        (
            {"decay_type": "layerwise"},
            "decay_type must be one of layer_wise, stage_wise, got 'layerwise'. Did you mean",
        ),
        ({"num_layers": 0}, "num_layers must be a whole number of at least 1, got 0"),
        ({"custom_keys": {"layrs": {}}}, "custom_keys has 'layrs', which no parameter name of Vit contains"),
    ],
)
def test_bad_settings(paramwise, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(Vit(), **paramwise)


def test_an_optimizer_without_lr():
    with pytest.raises(ConfigError, match="layer-wise decay multiplies lr, and the optimizer sets none: write it out"):
        build(Vit(), {"type": "SGD"}, layer_decay_rate=0.5)


def test_a_model_of_unknown_depth():
    message = "Linear has no get_layer_depth(param_name, prefix) and no parameters named as in layers.0, blocks.0"
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(nn.Linear(2, 2), layer_decay_rate=0.5)
