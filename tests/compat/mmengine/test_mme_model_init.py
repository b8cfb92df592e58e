"""mmengine.model.weight_init: what initialises one module, and what a config names for a tree of them."""

import random

import numpy as np
import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 2)
        self.conv2d = nn.Conv2d(3, 1, 3)
        self.conv2d_2 = nn.Conv2d(3, 2, 3)


def is_full(module, weight, bias):
    return bool((module.weight == weight).all() and (module.bias == bias).all())


def conv_and_linear():
    return nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Linear(1, 2))


CALLS = {
    "constant_init": {"val": 0.1},
    "xavier_init": {},
    "normal_init": {},
    "trunc_normal_init": {},
    "uniform_init": {},
    "kaiming_init": {},
    "caffe2_xavier_init": {},
}


@pytest.mark.parametrize("name", CALLS)
def test_a_function_fills_weight_and_bias_of_one_module(name):
    import mmengine.model

    init = getattr(mmengine.model, name)
    conv = nn.Conv2d(3, 16, 3)
    before = conv.weight.detach().clone()
    init(conv, bias=0.1, **CALLS[name])
    assert not torch.equal(conv.weight, before)
    assert (conv.bias == torch.tensor(0.1)).all()
    init(nn.Conv2d(3, 16, 3, bias=False), **CALLS[name])
    init(nn.ReLU(), **CALLS[name])


@pytest.mark.parametrize("name", ["xavier_init", "kaiming_init"])
def test_a_distribution_is_normal_or_uniform(name):
    import mmengine.model

    init = getattr(mmengine.model, name)
    init(nn.Conv2d(3, 16, 3), distribution="uniform")
    with pytest.raises(AssertionError):
        init(nn.Conv2d(3, 16, 3), distribution="student-t")


def test_truncated_normal_values_lie_between_the_bounds():
    from mmengine.model import trunc_normal_init
    from mmengine.model.weight_init import trunc_normal_

    draw = random.Random(0)
    for _ in range(3):
        mean, std = draw.uniform(-3, 3), draw.uniform(0.01, 1)
        low, high = draw.uniform(mean - 2 * std, mean), draw.uniform(mean, mean + 2 * std)
        conv = nn.Conv2d(3, 16, 3)
        trunc_normal_init(conv, mean, std, low, high, bias=0.1)
        assert low - 1e-5 <= conv.weight.min() <= conv.weight.max() <= high + 1e-5
    tensor = torch.empty(3, 5)
    assert trunc_normal_(tensor, std=0.02) is tensor


def test_the_bias_that_gives_a_probability():
    from mmengine.model import bias_init_with_prob, normal_init

    conv = nn.Conv2d(3, 16, 3)
    prior = 0.1
    normal_init(conv, bias=bias_init_with_prob(prior))
    assert bias_init_with_prob(prior) == pytest.approx(float(-np.log((1 - prior) / prior)))
    assert torch.allclose(conv.bias, torch.full_like(conv.bias, bias_init_with_prob(prior)))


INITS = {
    "ConstantInit": {"val": 1},
    "XavierInit": {"gain": 100},
    "NormalInit": {"mean": 100, "std": 1e-5},
    "TruncNormalInit": {"mean": 100, "std": 1e-5, "a": 0, "b": 200},
    "UniformInit": {"a": 1, "b": 100},
    "KaimingInit": {"a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu"},
    "Caffe2XavierInit": {},
}


@pytest.mark.parametrize("name", INITS)
def test_a_class_initialises_the_layers_that_it_names(name):
    import mmengine.model

    init = getattr(mmengine.model, name)
    model = conv_and_linear()
    constant = mmengine.model.ConstantInit(val=0, bias=0, layer=["Conv2d", "Linear"])
    model.apply(constant)
    init(**INITS[name], bias=2, layer="Conv2d")(model)
    assert not (model[0].weight == 0).all()
    assert (model[0].bias == 2).all()
    assert is_full(model[2], 0, 0)

    init(**INITS[name], bias_prob=0.01, layer="Linear")(model)
    assert not (model[2].weight == 0).all()
    expected = torch.full_like(model[2].bias, mmengine.model.bias_init_with_prob(0.01))
    assert torch.equal(model[2].bias, expected)

    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Conv1d(1, 2, 1))
    init(**INITS[name], bias=5.0, layer="_ConvNd")(model)
    assert (model[0].bias == 5).all()
    assert (model[2].bias == 5).all()
    assert type(init(**INITS[name])).__name__ in init(**INITS[name])._get_init_info()


@pytest.mark.parametrize("wrong", [{"bias": "1"}, {"bias_prob": "1"}, {"layer": 1}])
@pytest.mark.parametrize("name", ["ConstantInit", "XavierInit", "NormalInit", "UniformInit", "KaimingInit"])
def test_arguments_of_other_types_are_refused(name, wrong):
    import mmengine.model

    with pytest.raises(TypeError):
        getattr(mmengine.model, name)(**INITS[name], **wrong)


def test_weights_of_a_file(tmp_path):
    from mmengine.model import ConstantInit, PretrainedInit

    source = Parts()
    source.apply(ConstantInit(val=1, bias=2, layer=["Conv2d", "Linear"]))
    path = str(tmp_path / "source.pth")
    torch.save(source.state_dict(), path)
    whole, part = Parts(), nn.Linear(1, 2)
    PretrainedInit(checkpoint=path)(whole)
    PretrainedInit(checkpoint=path, prefix="linear.")(part)
    assert all(is_full(module, 1, 2) for module in (whole.linear, whole.conv2d, whole.conv2d_2, part))
    assert PretrainedInit(checkpoint=path)._get_init_info() == f"PretrainedInit: load from {path}"


def test_configs_of_several_layers():
    from mmengine.model import initialize

    cfg = {"type": "Constant", "layer": ["Conv2d", "Linear"], "val": 1, "bias": 2}
    kept = dict(cfg)
    model = conv_and_linear()
    initialize(model, cfg)
    assert is_full(model[0], 1, 2)
    assert is_full(model[2], 1, 2)
    assert cfg == kept

    cfgs = [
        {"type": "Constant", "layer": "Conv2d", "val": 1, "bias": 2},
        {"type": "Constant", "layer": "Linear", "val": 3, "bias": 4},
    ]
    model = conv_and_linear()
    initialize(model, cfgs)
    assert is_full(model[0], 1, 2)
    assert is_full(model[2], 3, 4)
    assert cfgs[1] == {"type": "Constant", "layer": "Linear", "val": 3, "bias": 4}


def test_an_override_is_for_an_attribute(tmp_path):
    from mmengine.model import ConstantInit, initialize

    base = {"type": "Constant", "val": 1, "bias": 2, "layer": ["Conv2d", "Linear"]}
    net = Parts()
    initialize(net, {**base, "override": {"type": "Constant", "name": "conv2d_2", "val": 3, "bias": 4}})
    assert is_full(net.linear, 1, 2)
    assert is_full(net.conv2d, 1, 2)
    assert is_full(net.conv2d_2, 3, 4)

    net = Parts()
    initialize(net, {"type": "Constant", "val": 5, "bias": 6, "override": {"name": "conv2d_2"}})
    assert is_full(net.conv2d_2, 5, 6)
    assert not is_full(net.linear, 5, 6)
    assert not is_full(net.conv2d, 5, 6)

    source = Parts()
    source.apply(ConstantInit(val=1, bias=2, layer=["Conv2d", "Linear"]))
    path = str(tmp_path / "source.pth")
    torch.save(source.state_dict(), path)
    override = {"type": "Constant", "name": "conv2d_2", "val": 3, "bias": 4}
    net = Parts()
    initialize(net, {"type": "Pretrained", "checkpoint": path, "override": override})
    assert is_full(net.linear, 1, 2)
    assert is_full(net.conv2d, 1, 2)
    assert is_full(net.conv2d_2, 3, 4)


@pytest.mark.parametrize(
    ("error", "override"),
    [
        (TypeError, "conv"),
        (RuntimeError, {"type": "Constant", "name": "conv2d_3", "val": 3, "bias": 4}),
        (
            RuntimeError,
            [
                {"type": "Constant", "name": "conv2d", "val": 3, "bias": 4},
                {"type": "Constant", "name": "conv2d_3", "val": 5, "bias": 6},
            ],
        ),
        (ValueError, {"name": "conv2d_2", "val": 3, "bias": 4}),
        (ValueError, {"type": "Constant", "val": 3, "bias": 4}),
    ],
)
def test_overrides_that_are_refused(error, override):
    from mmengine.model import initialize

    cfg = {"type": "Constant", "val": 1, "bias": 2, "layer": ["Conv2d", "Linear"], "override": override}
    with pytest.raises(error):
        initialize(Parts(), cfg)


def test_an_init_cfg_of_another_type_is_refused():
    from mmengine.model import initialize

    with pytest.raises(TypeError):
        initialize(Parts(), "init_cfg")


def test_what_changed_since_the_last_note():
    from collections import defaultdict

    from mmengine.model import BaseModule, update_init_info

    class Net(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv1 = nn.Conv2d(1, 1, 1, 1)
            self.conv3 = nn.Conv2d(1, 1, 1, 1)
            self.fc1 = nn.Linear(1, 1)

    model = Net()
    model._params_init_info = defaultdict(dict)
    for param in model.parameters():
        model._params_init_info[param]["init_info"] = "init"
        model._params_init_info[param]["tmp_mean_value"] = param.data.mean()
    with torch.no_grad():
        for param in model.parameters():
            param.fill_(1)
    update_init_info(model, init_info="fill_1")
    for item in model._params_init_info.values():
        assert item["init_info"] == "fill_1"
        assert item["tmp_mean_value"] == 1
    model.conv1.bias = nn.Parameter(torch.ones_like(model.conv1.bias))
    with pytest.raises(AssertionError):
        update_init_info(model, init_info=" ")
    with pytest.raises(AssertionError):
        update_init_info(nn.Linear(1, 1), init_info=" ")
