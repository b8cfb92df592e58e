"""Parameter groups by rules, as MMCV 1.x builds optimizers."""

import pytest
import torch
from mmcv1_suite import packages
from torch import nn

BASE = {"type": "SGD", "lr": 0.01, "weight_decay": 1e-4, "momentum": 0.9}


class Sub(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, kernel_size=1, groups=2)  # depthwise
        self.gn = nn.GroupNorm(2, 2)
        self.param1 = nn.Parameter(torch.ones(1))


class Example(nn.Module):
    def __init__(self):
        super().__init__()
        self.param1 = nn.Parameter(torch.ones(1))
        self.conv1 = nn.Conv2d(3, 4, kernel_size=1, bias=False)
        self.conv2 = nn.Conv2d(4, 2, kernel_size=1)
        self.bn = nn.BatchNorm2d(2)
        self.sub = Sub()
        self.fc = nn.Linear(2, 1)


class Twice(Example):
    """It uses one layer under two names."""

    def __init__(self):
        super().__init__()
        self.conv3 = nn.Sequential(nn.Conv2d(3, 4, kernel_size=1, bias=False))
        self.conv3[0] = self.conv1


def built(mmcv, model=None, optimizer=None, **rules):
    from mmcv.runner.optimizer import DefaultOptimizerConstructor

    model = model or Example()
    constructor = DefaultOptimizerConstructor(dict(optimizer or BASE), rules or None)
    return constructor(model), dict(model.named_parameters())


def test_optimizers_of_torch_are_registered(mmcv):
    from mmcv.runner.optimizer.builder import TORCH_OPTIMIZERS

    wanted = {
        "ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Optimizer", "RMSprop", "Rprop", "SGD",
        "SparseAdam",
    }  # fmt: skip
    assert wanted <= set(TORCH_OPTIMIZERS)
    assert wanted <= set(mmcv.runner.OPTIMIZERS.module_dict)
    assert "DefaultOptimizerConstructor" in mmcv.runner.OPTIMIZER_BUILDERS.module_dict


def test_without_rules(mmcv):
    optimizer, parameters = built(mmcv)
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.defaults["lr"] == 0.01
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in parameters.values()]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.01, 0.9, 1e-4)


def test_through_a_wrapper(mmcv):
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.module = Example()

    optimizer, parameters = built(mmcv, Wrapper(), bias_lr_mult=2)
    assert len(optimizer.param_groups) == len(parameters)


def test_rules(mmcv):
    """One group a parameter; biases, norms and depthwise layers have factors of their own."""
    rules = {"bias_lr_mult": 2, "bias_decay_mult": 0.5, "norm_decay_mult": 0, "dwconv_decay_mult": 0.1}
    optimizer, parameters = built(mmcv, **rules)
    found = {}
    for group, (name, parameter) in zip(optimizer.param_groups, parameters.items(), strict=True):
        assert [id(p) for p in group["params"]] == [id(parameter)]
        assert group["momentum"] == 0.9
        found[name] = (pytest.approx(group["lr"]), pytest.approx(group["weight_decay"]))
    plain = (0.01, 1e-4)
    assert {name: values for name, values in found.items() if values != plain} == {
        "conv2.bias": (0.02, 5e-5),
        "bn.weight": (0.01, 0),
        "bn.bias": (0.01, 0),
        "sub.conv1.weight": (0.01, 1e-5),
        "sub.conv1.bias": (0.02, 1e-5),
        "sub.gn.weight": (0.01, 0),
        "sub.gn.bias": (0.01, 0),
        "fc.bias": (0.02, 5e-5),
    }


def test_frozen_parameters_have_no_factors(mmcv):
    model = Example()
    for parameter in model.conv2.parameters():
        parameter.requires_grad = False
    optimizer, parameters = built(mmcv, model, bias_lr_mult=2)
    rates = dict(zip(parameters, (group["lr"] for group in optimizer.param_groups), strict=True))
    assert rates["conv2.bias"] == 0.01
    assert rates["fc.bias"] == 0.02


def test_custom_keys(mmcv):
    """The longest key that is part of a name counts, and other rules do not."""
    keys = {
        "param1": {"lr_mult": 10},
        "sub": {"lr_mult": 0.1, "decay_mult": 0},
        "sub.gn": {"lr_mult": 0.01},
        "non_exist_key": {"lr_mult": 0.0},
    }
    optimizer, parameters = built(mmcv, custom_keys=keys, norm_decay_mult=0.5)
    found = {
        name: (pytest.approx(group["lr"]), pytest.approx(group["weight_decay"]))
        for name, group in zip(parameters, optimizer.param_groups, strict=True)
    }
    assert found["param1"] == (0.1, 1e-4)
    assert found["sub.conv1.weight"] == (0.001, 0)
    assert found["sub.gn.bias"] == (0.0001, 1e-4)
    assert found["sub.param1"] == (0.1, 1e-4)  # of the two that are part of its name, the longer one
    assert found["bn.weight"] == (0.01, 5e-5)
    assert found["conv1.weight"] == (0.01, 1e-4)


@pytest.mark.parametrize(
    ("optimizer", "rules", "error"),
    [
        ("SGD", None, TypeError),
        (BASE, ["bias_lr_mult"], TypeError),
        ({"type": "SGD", "lr": 0.01}, {"bias_decay_mult": 0.5}, ValueError),
        ({"type": "SGD", "lr": 0.01}, {"norm_decay_mult": 0.5}, ValueError),
        ({"type": "SGD", "lr": 0.01, "weight_decay": None}, {"dwconv_decay_mult": 0.5}, ValueError),
        (BASE, {"custom_keys": [1]}, TypeError),
        ({"type": "SGD", "lr": 0.01}, {"custom_keys": {"a": {"decay_mult": 1}}}, ValueError),
    ],
)
def test_what_is_refused(mmcv, optimizer, rules, error):
    from mmcv.runner.optimizer import DefaultOptimizerConstructor

    with pytest.raises(error):
        DefaultOptimizerConstructor(optimizer, rules)


def test_parameters_that_are_there_twice(mmcv):
    with pytest.raises(ValueError, match="appear in more than one parameter group"):
        built(mmcv, Twice(), bias_lr_mult=2)
    with pytest.warns(UserWarning, match="bypass_duplicate=True"):
        optimizer, parameters = built(mmcv, Twice(), bias_lr_mult=2, bypass_duplicate=True)
    assert len(optimizer.param_groups) == len(parameters)


def test_build_optimizer(mmcv):
    cfg = {**BASE, "paramwise_cfg": {"bias_lr_mult": 3}}
    before = dict(cfg)
    model = Example()
    optimizer = mmcv.runner.build_optimizer(model, cfg)
    assert cfg == before
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.01, 0.03])
    constructor = mmcv.runner.build_optimizer_constructor(
        {"type": "DefaultOptimizerConstructor", "optimizer_cfg": BASE, "paramwise_cfg": None}
    )
    assert isinstance(constructor(model), torch.optim.SGD)


def test_a_constructor_and_an_optimizer_of_ones_own(mmcv):
    from mmcv.runner.optimizer import DefaultOptimizerConstructor
    from mmcv.utils import build_from_cfg

    builders, optimizers = mmcv.runner.OPTIMIZER_BUILDERS, mmcv.runner.OPTIMIZERS

    @optimizers.register_module(name="SuiteSGD", force=True)
    class SuiteSGD(torch.optim.SGD):
        """Its own."""

    @builders.register_module(name="SuiteConstructor", force=True)
    class SuiteConstructor(DefaultOptimizerConstructor):
        def __call__(self, model):
            conv1_lr = self.paramwise_cfg.get("conv1_lr_mult", 1.0) * self.base_lr
            settings = self.optimizer_cfg.copy()
            settings["params"] = [
                {"params": [p], "lr": conv1_lr if "conv1" in n else self.base_lr} for n, p in model.named_parameters()
            ]
            return build_from_cfg(settings, optimizers)

    try:
        cfg = {**BASE, "type": "SuiteSGD", "constructor": "SuiteConstructor", "paramwise_cfg": {"conv1_lr_mult": 5}}
        model = Example()
        optimizer = mmcv.runner.build_optimizer(model, cfg)
    finally:
        optimizers.module_dict.pop("SuiteSGD")
        builders.module_dict.pop("SuiteConstructor")
    assert type(optimizer) is SuiteSGD
    rates = dict(zip(dict(model.named_parameters()), (group["lr"] for group in optimizer.param_groups), strict=True))
    assert (rates["conv1.weight"], rates["sub.conv1.bias"], rates["fc.bias"]) == (0.05, 0.05, 0.01)


def test_compiled_operators_are_found_wanting(mmcv):
    from mmcv.utils.ext_loader import load_ext

    with packages("mmcv._ext") as (ext,):
        assert load_ext("_ext", ["roi_align"]) is ext
        del ext.nms
        with pytest.raises(AssertionError, match="nms"):
            load_ext("_ext", ["roi_align", "nms"])


def test_a_stub_for_compiled_operators_does_no_harm(mmcv):
    """What puts a mock at ``mmcv.ops`` gets optimizers as before."""
    from mmcv.utils.ext_loader import check_ops_exist

    with packages("mmcv.ops") as (ops,):
        ops.DeformConv2d = ops.ModulatedDeformConv2d = dict
        optimizer, parameters = built(mmcv, dcn_offset_lr_mult=0.1, bias_lr_mult=2)
    assert len(optimizer.param_groups) == len(parameters)
    assert check_ops_exist() is False
