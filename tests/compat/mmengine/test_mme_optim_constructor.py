"""mmengine.optim.optimizer.default_constructor and builder: groups by paramwise_cfg, and what is refused."""

import copy
import logging

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")

LR, WD, MOMENTUM = 0.01, 0.0001, 0.9
ALL = {"bias_lr_mult": 2, "bias_decay_mult": 0.5, "norm_decay_mult": 0, "dwconv_decay_mult": 0.1}


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 2, kernel_size=1, groups=2)
        self.gn = nn.GroupNorm(2, 2)
        self.param1 = nn.Parameter(torch.ones(1))


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.param1 = nn.Parameter(torch.ones(1))
        self.conv1 = nn.Conv2d(3, 4, kernel_size=1, bias=False)
        self.conv2 = nn.Conv2d(4, 2, kernel_size=1)
        self.bn = nn.BatchNorm2d(2)
        self.sub = Inner()


class Shared(Outer):
    def __init__(self):
        super().__init__()
        self.conv3 = nn.Sequential(nn.Conv2d(3, 4, kernel_size=1, bias=False))
        self.conv3[0] = self.conv1


class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = Outer()


def cfg(**optimizer):
    return {
        "type": "OptimWrapper",
        "optimizer": {"type": "SGD", "lr": LR, "weight_decay": WD, "momentum": MOMENTUM, **optimizer},
    }


def built(model, paramwise_cfg=None, **optimizer):
    from mmengine.optim import DefaultOptimWrapperConstructor

    return DefaultOptimWrapperConstructor(cfg(**optimizer), paramwise_cfg)(model).optimizer


def assert_one_group(optimizer, model):
    assert isinstance(optimizer, torch.optim.SGD)
    for name, value in (("lr", LR), ("weight_decay", WD), ("momentum", MOMENTUM)):
        assert optimizer.defaults[name] == value
    (group,) = optimizer.param_groups
    own = list(model.parameters())
    assert len(group["params"]) == len(own) == 11
    assert all(one is other for one, other in zip(group["params"], own, strict=True))


def assert_groups(optimizer, model, **mults):
    """Each parameter in its own group, with the factors that hold for it."""
    flat = mults.get("flat_decay_mult", 1)
    bias_lr, bias = mults.get("bias_lr_mult", 1), mults.get("bias_decay_mult", 1)
    norm, depthwise = mults.get("norm_decay_mult", 1), mults.get("dwconv_decay_mult", 1)
    expected = {
        "param1": (1, flat),
        "conv1.weight": (1, 1),
        "conv2.weight": (1, 1),
        "conv2.bias": (bias_lr, bias),
        "bn.weight": (1, norm),
        "bn.bias": (1, norm),
        "sub.param1": (1, flat),
        "sub.conv1.weight": (1, depthwise),
        "sub.conv1.bias": (bias_lr, bias),
        "sub.gn.weight": (1, norm),
        "sub.gn.bias": (1, norm),
    }
    assert len(optimizer.param_groups) == 11
    for (name, param), group in zip(model.named_parameters(), optimizer.param_groups, strict=True):
        lr, decay = expected[name]
        assert group["params"][0] is param
        assert group["momentum"] == MOMENTUM
        assert (group["lr"], group["weight_decay"]) == (LR * lr, WD * decay), name


def test_known_optimizers():
    from mmengine.optim.optimizer.builder import TORCH_OPTIMIZERS
    from mmengine.registry import OPTIMIZERS

    names = "ASGD Adadelta Adagrad Adam AdamW Adamax LBFGS Optimizer RMSprop Rprop SGD SparseAdam"
    assert set(names.split()) <= set(TORCH_OPTIMIZERS)
    assert OPTIMIZERS.get("SGD") is torch.optim.SGD
    assert "ZeroRedundancyOptimizer" in OPTIMIZERS


def test_one_group_by_default():
    from mmengine.config import ConfigDict
    from mmengine.optim import OptimWrapper, build_optim_wrapper

    model = Outer()
    given = cfg()
    for form in (given, ConfigDict(given)):
        wrapper = build_optim_wrapper(model, form)
        assert type(wrapper) is OptimWrapper
        assert_one_group(wrapper.optimizer, model)
    assert given == cfg()
    assert_one_group(built(model, {}), model)
    for param in model.parameters():
        param.requires_grad = False
    assert_one_group(built(model, {}), model)


def test_what_is_refused():
    from mmengine.optim import build_optim_wrapper

    model = Outer()
    given = cfg()
    given["constructor"] = "INVALID_CONSTRUCTOR"
    with pytest.raises(KeyError):
        build_optim_wrapper(model, given)
    given["paramwise_cfg"] = {"invalid_mult": 1}
    with pytest.raises(KeyError):
        build_optim_wrapper(model, given)
    for name in ("optimizer", "constructor", "paramwise_cfg"):
        given.pop(name)
    with pytest.raises(AssertionError, match="`optim_wrapper_cfg` must contain"):
        build_optim_wrapper(model, given)


@pytest.mark.parametrize(
    ("given", "paramwise_cfg", "error"),
    [
        ([], None, TypeError),
        ({"optimizer": {"lr": 0.0001, "weight_decay": None}}, ["error"], TypeError),
        ({"optimizer": {"lr": 0.0001, "weight_decay": None}}, {"bias_decay_mult": 1, "norm_decay_mult": 1}, ValueError),
        ({"optimizer": {"lr": 0.0001}}, None, KeyError),
        (cfg(), {"custom_keys": [0.1, 0.0001]}, TypeError),
        (cfg(weight_decay=None), {"custom_keys": {".backbone": {"decay_mult": 0.5}}}, ValueError),
    ],
)
def test_settings_of_the_constructor_that_are_refused(given, paramwise_cfg, error):
    from mmengine.optim import DefaultOptimWrapperConstructor

    with pytest.raises(error):
        DefaultOptimWrapperConstructor(given, paramwise_cfg)(Outer())


@pytest.mark.parametrize("mults", [ALL, {**ALL, "flat_decay_mult": 0.3, "dcn_offset_lr_mult": 0.1}])
def test_rules(mults):
    from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

    model = Outer()
    assert_groups(built(model, mults), model, **mults)
    around = Around()
    assert_groups(built(around, mults), around.module, **mults)
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        {"type": "DefaultOptimWrapperConstructor", "optim_wrapper_cfg": cfg(), "paramwise_cfg": mults}
    )
    assert_groups(constructor(model).optimizer, model, **mults)


def test_frozen_parameters_have_no_group():
    model = Outer()
    model.conv1.requires_grad_(requires_grad=False)
    params = [id(param) for group in built(model, ALL).param_groups for param in group["params"]]
    assert id(model.conv1.weight) not in params
    assert id(model.conv2.weight) in params
    assert len(params) == 10


def test_shared_parameters():
    from mmengine.optim import DefaultOptimWrapperConstructor

    model = Shared()
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        built(model, ALL)
    mults = {**ALL, "bypass_duplicate": True}
    assert_groups(built(model, mults), model, **mults)
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelname, record.getMessage()))
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        DefaultOptimWrapperConstructor(cfg(), mults)(model)
    finally:
        logger.removeHandler(handler)
    warned = [text for level, text in lines if level == "WARNING"]
    assert len(warned) == 1
    assert "conv3.0 is duplicate. It is skipped since bypass_duplicate=True" in warned[0]


def test_keys_of_ones_own():
    model = Outer()
    keys = {
        "param1": {"lr_mult": 10},
        "sub": {"lr_mult": 0.1, "decay_mult": 0},
        "sub.gn": {"lr_mult": 0.01},
        "non_exist_key": {"lr_mult": 0.0},
    }
    optimizer = built(model, {"custom_keys": keys, "norm_decay_mult": 0.5})
    expected = {
        "param1": (10, 1),  # the longest key that a name contains
        "sub.param1": (10, 1),
        "sub.gn.weight": (0.01, 1),
        "sub.gn.bias": (0.01, 1),
        "sub.conv1.weight": (0.1, 0),
        "sub.conv1.bias": (0.1, 0),
        "bn.weight": (1, 0.5),
        "bn.bias": (1, 0.5),
    }
    assert len(optimizer.param_groups) == 11
    for (name, param), group in zip(model.named_parameters(), optimizer.param_groups, strict=True):
        lr, decay = expected.get(name, (1, 1))
        assert group["params"][0] is param
        assert (group["lr"], group["weight_decay"], group["momentum"]) == (LR * lr, WD * decay, MOMENTUM), name


def test_keys_without_weight_decay():
    from mmengine.optim import DefaultOptimWrapperConstructor

    model = Outer()
    given = {"optimizer": {"type": "SGD", "lr": LR, "momentum": MOMENTUM}}
    optimizer = DefaultOptimWrapperConstructor(given, {"custom_keys": {"param1": {"lr_mult": 10}}})(model).optimizer
    assert optimizer.defaults["weight_decay"] == 0
    for (name, _), group in zip(model.named_parameters(), optimizer.param_groups, strict=True):
        assert group["lr"] == LR * (10 if "param1" in name else 1)
        assert group["weight_decay"] == 0


def test_entries_of_ones_own():
    model = Outer()
    optimizer = built(model, {"custom_keys": {"conv2": {"momentum": 0.5, "note": "head"}}})
    for (name, _), group in zip(model.named_parameters(), optimizer.param_groups, strict=True):
        assert group["momentum"] == (0.5 if "conv2" in name else MOMENTUM)
        assert group.get("note") == ("head" if "conv2" in name else None)


def test_constructors_of_ones_own():
    from mmengine.optim import DefaultOptimWrapperConstructor
    from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS

    class FasterFirst(DefaultOptimWrapperConstructor):
        def __call__(self, model):
            if hasattr(model, "module"):
                model = model.module
            mult = self.paramwise_cfg.get("conv1_lr_mult", 1.0)
            params = []
            for name, param in model.named_parameters():
                group = {"params": [param]}
                if name.startswith("conv1") and param.requires_grad:
                    group["lr"] = self.base_lr * mult
                params.append(group)
            self.optimizer_cfg["params"] = params
            return OPTIMIZERS.build(self.optimizer_cfg)

    OPTIM_WRAPPER_CONSTRUCTORS.register_module(name="FasterFirst", module=FasterFirst)
    try:
        constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
            {"type": "FasterFirst", "optim_wrapper_cfg": cfg(), "paramwise_cfg": {"conv1_lr_mult": 5}}
        )
    finally:
        OPTIM_WRAPPER_CONSTRUCTORS._module_dict.pop("FasterFirst")
    model = Outer()
    optimizer = constructor(model)
    assert isinstance(optimizer, torch.optim.SGD)
    for (name, param), group in zip(model.named_parameters(), optimizer.param_groups, strict=True):
        assert group["params"][0] is param
        assert group["lr"] == LR * (5 if name == "conv1.weight" else 1)


def test_optimizers_of_ones_own():
    from mmengine.optim import DefaultOptimWrapperConstructor
    from mmengine.registry import OPTIMIZERS, Registry

    children = Registry("custom optimizer", scope="custom optimizer", parent=OPTIMIZERS)

    class Own(torch.optim.SGD):
        def __init__(self, model_params, *args, **kwargs):
            super().__init__(params=model_params, *args, **kwargs)  # noqa: B026

    children.register_module()(Own)
    try:
        given = cfg(type="custom optimizer.Own")
        model = Outer()
        assert_one_group(DefaultOptimWrapperConstructor(copy.deepcopy(given))(model).optimizer, model)
        optimizer = DefaultOptimWrapperConstructor(given, ALL)(model).optimizer
        assert type(optimizer) is Own
        assert_groups(optimizer, model, **ALL)
    finally:
        OPTIMIZERS.children.pop("custom optimizer")
    given = cfg()
    given["optimizer"]["type"] = torch.optim.SGD
    assert_one_group(DefaultOptimWrapperConstructor(given)(model).optimizer, model)


def test_whether_a_group_is_in_a_list():
    from mmengine.optim import DefaultOptimWrapperConstructor

    constructor = DefaultOptimWrapperConstructor(cfg())
    one, two = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    assert constructor._is_in({"params": [one]}, [{"params": [two]}, {"params": [one]}])
    assert not constructor._is_in({"params": [one]}, [{"params": [two]}])
    groups = []
    constructor.add_params(groups, Inner(), prefix="sub")
    assert len(groups) == 5
