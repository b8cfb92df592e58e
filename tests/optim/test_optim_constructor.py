"""From a config to an optim wrapper: which parameter gets which settings, and what is refused."""

from __future__ import annotations

import copy
import logging
import re

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.base.logs import MMLogger
from trainwright.optim import AmpOptimWrapper, DefaultOptimWrapperConstructor, OptimWrapper, build_optim_wrapper
from trainwright.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS

SGD = {"type": "SGD", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.9}


class DeformConv2d(nn.Module):
    """Stands for the one of mmcv, which is found by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.bias = nn.Parameter(torch.ones(2))
        self.conv_offset = nn.Conv2d(2, 2, 1)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.conv = nn.Conv2d(2, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.dw = nn.Conv2d(4, 4, 1, groups=4)
        self.dcn = DeformConv2d()
        self.ln = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


@pytest.fixture
def log():
    with MMLogger("optim-constructor-test", log_level="DEBUG").as_current() as logger:
        yield logger


def build(paramwise_cfg=None, optimizer=SGD, model=None, **kwargs) -> OptimWrapper:
    cfg = {"optimizer": optimizer, **kwargs}
    if paramwise_cfg is not None:
        cfg["paramwise_cfg"] = paramwise_cfg
    return build_optim_wrapper(Net() if model is None else model, cfg)


def settings(paramwise_cfg, key, model=None) -> dict[str, float]:
    """`{parameter name: its entry}` for parameters whose entry is not the optimizer's own."""
    model = Net() if model is None else model
    names = {id(p): name for name, p in model.named_parameters()}
    optimizer = build(paramwise_cfg, model=model).optimizer
    found = {names[id(g["params"][0])]: round(g[key], 12) for g in optimizer.param_groups}
    return {name: value for name, value in found.items() if value != SGD[key]}


@pytest.fixture(autouse=True)
def _quiet():
    with MMLogger("optim-constructor-quiet", log_level="ERROR").as_current():
        yield


def test_without_paramwise_cfg_all_parameters_form_one_group():
    model = Net()
    wrapper = build(model=model)
    assert type(wrapper) is OptimWrapper
    assert [id(p) for p in wrapper.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    assert wrapper.get_lr() == {"lr": [0.1]}


def test_with_paramwise_cfg_each_trainable_parameter_has_a_group():
    model = Net()
    wrapper = build({"norm_decay_mult": 0.0}, model=model)
    trainable = [id(p) for p in model.parameters() if p.requires_grad]
    assert [id(g["params"][0]) for g in wrapper.optimizer.param_groups] == trainable
    assert wrapper.get_lr()["base_lr"] == [0.1]


NORMS = ["bn.weight", "bn.bias", "ln.weight", "ln.bias"]
BIASES = ["conv.bias", "dw.bias", "head.bias", "dcn.bias"]
OFFSETS = ["dcn.conv_offset.weight", "dcn.conv_offset.bias"]


@pytest.mark.parametrize(
    ("paramwise_cfg", "key", "value", "names"),
    [
        ({"norm_decay_mult": 0.5}, "weight_decay", 0.005, NORMS),
        # Where norm_decay_mult is not set, the bias of a norm is a bias; that of an offset layer never is.
        ({"bias_decay_mult": 0}, "weight_decay", 0.0, [*BIASES, "bn.bias", "ln.bias"]),
        ({"bias_lr_mult": 2}, "lr", 0.2, BIASES),
        ({"dwconv_decay_mult": 0.1}, "weight_decay", 0.001, ["dw.weight", "dw.bias"]),
        ({"flat_decay_mult": 0.3}, "weight_decay", 0.003, ["scale", *BIASES, *NORMS]),
        ({"dcn_offset_lr_mult": 0.1}, "lr", 0.01, OFFSETS),
        ({"bias_lr_mult": None}, "lr", 0.1, []),
    ],
)
def test_rules(paramwise_cfg, key, value, names):
    assert settings(paramwise_cfg, key) == dict.fromkeys(names, value)


def test_the_first_decay_rule_wins():
    cfg = {"norm_decay_mult": 0.5, "bias_decay_mult": 0.2, "dwconv_decay_mult": 0.1, "flat_decay_mult": 0.3}
    found = settings(cfg, "weight_decay")
    assert found["bn.bias"] == 0.005
    assert found["dw.bias"] == 0.002
    assert found["dw.weight"] == 0.001
    assert found["scale"] == 0.003


def test_custom_keys_the_longest_then_the_alphabet():
    cfg = {
        "custom_keys": {"conv": {"lr_mult": 0.1, "decay_mult": 2}, "conv.bias": {"lr_mult": 7}, "bn": {"lr_mult": 3}},
        "bias_lr_mult": 2,
    }
    lr = settings(cfg, "lr")
    assert (lr["conv.weight"], lr["conv.bias"], lr["bn.weight"]) == (0.01, 0.7, 0.3)
    assert lr["dcn.conv_offset.weight"] == 0.01
    assert lr["head.bias"] == 0.2  # a rule, as no key names it
    assert settings(cfg, "weight_decay") == dict.fromkeys(
        ["conv.weight", "dcn.conv_offset.weight", "dcn.conv_offset.bias"], 0.02
    )
    assert settings({"custom_keys": {"ead": {"lr_mult": 2}, "hea": {"lr_mult": 3}}}, "lr") == {
        "head.weight": 0.2,
        "head.bias": 0.2,
    }


def test_a_custom_key_may_set_entries_of_the_group():
    model = Net()
    wrapper = build({"custom_keys": {"head.weight": {"momentum": 0.5, "tag": "x"}}}, model=model)
    (group,) = [g for g in wrapper.optimizer.param_groups if g["params"][0] is model.head.weight]
    assert (group["momentum"], group["tag"], group["lr"]) == (0.5, "x", 0.1)


def test_a_custom_key_needs_no_lr_where_it_sets_none():
    wrapper = build({"custom_keys": {"head": {"rho": 0.5}}}, optimizer={"type": "Adadelta"})
    assert [g["rho"] for g in wrapper.optimizer.param_groups][-2:] == [0.5, 0.5]


def test_a_shared_parameter_is_taken_once_when_asked(log, capsys):
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    wrapper = build({"bypass_duplicate": True}, model=model)
    assert len(wrapper.optimizer.param_groups) == 3
    assert (
        "b is duplicate. It is skipped since bypass_duplicate=True: its weight has a group already"
        in capsys.readouterr().err
    )


def test_a_shared_parameter_is_refused_otherwise():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    message = "some parameters appear in more than one parameter group: a.weight and b.weight are one. Set "
    with pytest.raises(ConfigError, match=re.escape(message)):
        build({"bias_lr_mult": 2}, model=model)


def test_settings_of_each_parameter_are_logged_at_debug(log, capsys):
    build({"custom_keys": {"head": {"lr_mult": 2}}})
    assert "head.weight: {'lr': 0.2, 'weight_decay': 0.01, 'lr_mult': 2}" in capsys.readouterr().err
    log.setLevel(logging.INFO)
    build({"custom_keys": {"head": {"lr_mult": 2}}})
    assert capsys.readouterr().err == ""


def test_the_wrapper_is_the_one_named_and_the_config_is_left_alone():
    cfg = {
        "type": "AmpOptimWrapper",
        "dtype": "bfloat16",
        "optimizer": dict(SGD),
        "clip_grad": {"max_norm": 1.0},
        "accumulative_counts": 3,
        "constructor": "DefaultOptimWrapperConstructor",
        "paramwise_cfg": {"norm_decay_mult": 0.0},
    }
    kept = copy.deepcopy(cfg)
    wrapper = build_optim_wrapper(Net(), cfg)
    assert type(wrapper) is AmpOptimWrapper
    assert wrapper.clip_grad_kwargs == {"max_norm": 1.0}
    assert wrapper.cast_dtype is torch.bfloat16
    assert cfg == kept


def test_the_model_inside_a_parallel_wrapper_is_used():
    class Parallel(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = Net()
    assert settings({"custom_keys": {".scale": {"lr_mult": 2}}}, "lr", model=model) == {"scale": 0.2}
    wrapper = build({"custom_keys": {"head": {"lr_mult": 2}}}, model=Parallel(model))
    assert wrapper.get_lr()["lr"][-1] == 0.2


def test_an_optimizer_that_is_built_already():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    wrapper = build_optim_wrapper(model, {"optimizer": optimizer, "accumulative_counts": 2})
    assert wrapper.optimizer is optimizer
    with pytest.raises(
        ConfigError, match="paramwise_cfg decides the groups of an optimizer while it is built, and this"
    ):
        build_optim_wrapper(model, {"optimizer": optimizer, "paramwise_cfg": {"norm_decay_mult": 0}})


def test_an_optimizer_class_whose_first_argument_has_another_name():
    class Odd(torch.optim.SGD):
        def __init__(self, model_params, lr):
            super().__init__(model_params, lr=lr)

    assert build(optimizer={"type": Odd, "lr": 0.5}).get_lr() == {"lr": [0.5]}


def test_a_subclass_overrides_add_params_with_keys_of_its_own():
    class ByDepth(DefaultOptimWrapperConstructor):
        def add_params(self, params, module, prefix="", is_dcn_module=None):
            for depth, p in enumerate(module.parameters()):
                params.append({"params": [p], "lr": self.base_lr * self.paramwise_cfg["decay_rate"] ** depth})

    wrapper = build({"decay_rate": 0.5, "custom_keys": {"nothing": {}}}, model=nn.Linear(2, 2), constructor=ByDepth)
    assert wrapper.get_lr()["lr"] == [0.1, 0.05]


def test_a_registered_constructor_is_found_by_name():
    @OPTIM_WRAPPER_CONSTRUCTORS.register_module()
    class OnlyBiases(DefaultOptimWrapperConstructor):
        def __call__(self, model):
            biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
            return OptimWrapper(OPTIMIZERS.build({**self.optimizer_cfg, "params": biases}))

    try:
        assert len(build(constructor="OnlyBiases").param_groups[0]["params"]) == 8
    finally:
        OPTIM_WRAPPER_CONSTRUCTORS.module_dict.pop("OnlyBiases")


def test_every_torch_optimizer_is_registered_by_name():
    for name in ("SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "LBFGS", "NAdam", "RAdam", "Muon"):
        assert OPTIMIZERS.get(name) is getattr(torch.optim, name)
    assert OPTIMIZERS.get("Optimizer") is None


def test_a_custom_key_that_matches_nothing():
    message = "paramwise_cfg custom_keys has 'haed', which no parameter name of Net contains. Did you mean 'head'"
    with pytest.raises(ConfigError, match=re.escape(message)):
        build({"custom_keys": {"haed": {"lr_mult": 2}}})
    with pytest.raises(
        ConfigError, match=re.escape("Take it out, or set allow_unmatched_keys=True there to be warned")
    ):
        build({"custom_keys": {"zzz": {"lr_mult": 2}}})


def test_a_custom_key_that_matches_nothing_may_be_allowed(log, capsys):
    build({"custom_keys": {"haed": {"lr_mult": 2}}, "allow_unmatched_keys": True})
    assert "WARNING - paramwise_cfg custom_keys has 'haed'" in capsys.readouterr().err


def test_nothing_to_train():
    with pytest.raises(
        ConfigError, match="Net has no parameter to train: it has none at all, or requires_grad is False"
    ):
        build(model=Net().requires_grad_(False))


@pytest.mark.parametrize(
    ("paramwise_cfg", "optimizer", "message"),
    [
        (
            {"norm_decay_mul": 0.0},
            SGD,
            "paramwise_cfg has no setting 'norm_decay_mul': it takes custom_keys, bias_lr_mult",
        ),
        ({"norm_decay_mul": 0.0}, SGD, "Did you mean 'norm_decay_mult'"),
        ([1], SGD, "paramwise_cfg must be a dict or None, got [1]"),
        (
            {"custom_keys": ["head"]},
            SGD,
            "custom_keys must be a dict of dicts, such as {'backbone': dict(lr_mult=0.1)}",
        ),
        ({"custom_keys": {"head": 0.1}}, SGD, "custom_keys must be a dict of dicts"),
        (
            {"flat_decay_mult": 0},
            {"type": "SGD", "lr": 1},
            "paramwise_cfg has flat_decay_mult, a factor on weight_decay, ",
        ),
        (
            {"custom_keys": {"a": {"decay_mult": 0}}},
            {"type": "SGD", "lr": 1},
            "the optimizer sets no weight_decay: write it",
        ),
        ({"bias_lr_mult": 2}, {"type": "Adadelta"}, "bias_lr_mult, a factor on lr, and the optimizer sets no lr"),
    ],
)
def test_bad_paramwise_cfg(paramwise_cfg, optimizer, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(paramwise_cfg, optimizer)


@pytest.mark.parametrize("cfg", [{}, {"optimizer": None}, {"optimizer": {"lr": 1}}])
def test_no_optimizer(cfg):
    with pytest.raises(ConfigError, match="must contain an optimizer with a type, such as optim_wrapper=dict"):
        build_optim_wrapper(Net(), cfg)


def test_config_of_the_wrong_type():
    with pytest.raises(ConfigTypeError, match="optim_wrapper must be a dict, got 'SGD' of type str"):
        build_optim_wrapper(Net(), "SGD")
    with pytest.raises(ConfigTypeError, match="optim_wrapper must be a dict, got 'SGD' of type str"):
        DefaultOptimWrapperConstructor("SGD")


def test_an_unknown_optimizer_and_a_wrong_argument_are_named():
    with pytest.raises(KeyError, match="AdamW"):
        build(optimizer={"type": "AdmaW", "lr": 1})
    with pytest.raises(TypeError, match="weight_decay"):
        build(optimizer={"type": "SGD", "lr": 1, "weigth_decay": 0})
    with pytest.raises(TypeError, match="accumulative_counts"):
        build(type="AmpOptimWrapper", acumulative_counts=2)
