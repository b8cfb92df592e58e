"""How models of MMCV 1.x get their initial weights, and what is written of it."""

import copy
import logging
from collections import defaultdict

import pytest
import torch
from torch import nn


@pytest.fixture
def parts(mmcv):
    """Three small modules, and a model of two of them."""
    from mmcv.runner import BaseModule

    class Conv1d(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv1d = nn.Conv1d(4, 1, 4)

    class Conv2d(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv2d = nn.Conv2d(3, 1, 3)

    class Linear(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.linear = nn.Linear(3, 4)

    class LinearConv1d(BaseModule):
        def __init__(self, linear=None, conv1d=None, init_cfg=None):
            super().__init__(init_cfg)
            self.linear = Linear(linear)
            self.conv1d = Conv1d(conv1d)

    class Whole(BaseModule):
        def __init__(self, first=None, second=None, linear=None, conv1d=None, init_cfg=None):
            super().__init__(init_cfg)
            self.component1 = Conv2d(first)
            self.component2 = LinearConv1d(linear, conv1d, second)
            self.reg = nn.Linear(3, 4)

    class Parts:
        pass

    Parts.conv1d, Parts.conv2d, Parts.linear, Parts.whole = Conv1d, Conv2d, Linear, Whole
    return Parts


def constant(layer, value, bias, **more):
    return {"type": "Constant", "val": value, "bias": bias, "layer": layer, **more}


def filled(layer, value, bias):
    return bool((layer.weight == value).all()) and bool((layer.bias == bias).all())


def test_inner_settings_are_stronger(parts):
    """Each level initialises what the inner ones have left to it."""
    model = parts.whole(
        first=constant("Conv2d", 3, 4),
        second=constant("Conv1d", 5, 6),
        linear=constant("Linear", 7, 8),
        init_cfg=constant(["Linear", "Conv1d", "Conv2d"], 1, 2),
    )
    assert model.is_init is False
    model.init_weights()
    assert model.is_init
    assert filled(model.reg, 1, 2)
    assert filled(model.component1.conv2d, 3, 4)
    assert filled(model.component2.conv1d.conv1d, 5, 6)
    assert filled(model.component2.linear.linear, 7, 8)
    assert not hasattr(model, "_params_init_info")


def test_the_second_call_warns(parts):
    model = parts.linear(constant("Linear", 1, 2))
    model.init_weights()
    with pytest.warns(UserWarning, match="init_weights"):
        model.init_weights()


def test_overrides(parts):
    cfg = constant(["Linear", "Conv1d"], 1, 2, override={"type": "Constant", "name": "reg", "val": 13, "bias": 14})
    model = parts.whole(init_cfg=cfg)
    model.init_weights()
    assert filled(model.component2.linear.linear, 1, 2)
    assert filled(model.component2.conv1d.conv1d, 1, 2)
    assert filled(model.reg, 13, 14)


@pytest.mark.parametrize(
    "cfg", [constant("Linear", 1, 2, override={"val": 13, "bias": 14}), constant("Linear", 1, 2, override=3)]
)
def test_overrides_that_are_none(parts, cfg):
    with pytest.raises((TypeError, ValueError), match="override|dict"):
        parts.whole(init_cfg=cfg).init_weights()


def test_an_override_of_what_is_not_there(parts):
    cfg = constant("Linear", 1, 2, override={"type": "Constant", "name": "no_such_part", "val": 1})
    with pytest.raises(RuntimeError):
        parts.whole(init_cfg=cfg).init_weights()


def test_lists_of_settings(parts):
    model = parts.whole(init_cfg=[constant("Linear", 1, 2), constant("Conv1d", 3, 4)])
    before = model.component1.conv2d.weight.detach().clone()
    model.init_weights()
    assert filled(model.reg, 1, 2)
    assert filled(model.component2.conv1d.conv1d, 3, 4)
    assert torch.equal(model.component1.conv2d.weight, before)


def test_settings_are_copied(parts):
    cfg = constant("Linear", 1, 2)
    model = parts.linear(cfg)
    assert model.init_cfg == cfg
    assert model.init_cfg is not cfg
    assert "init_cfg=" in repr(model)
    assert copy.deepcopy(model).init_cfg == cfg


def test_pretrained_weights_end_it(mmcv, parts, tmp_path):
    source = parts.linear(constant("Linear", 4, 5))
    source.init_weights()
    torch.save(source.state_dict(), tmp_path / "model.pth")
    model = parts.linear({"type": "Pretrained", "checkpoint": str(tmp_path / "model.pth")})
    model.init_weights()
    assert filled(model.linear, 4, 5)
    torch.save({f"backbone.{key}": value for key, value in source.state_dict().items()}, tmp_path / "model.pth")
    model = parts.linear({"type": "Pretrained", "checkpoint": str(tmp_path / "model.pth"), "prefix": "backbone."})
    model.init_weights()
    assert filled(model.linear, 4, 5)


def test_a_method_of_the_users_own(mmcv):
    class Own(mmcv.runner.BaseModule):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def init_weights(self):
            nn.init.constant_(self.conv.weight, 9)

    class Outer(mmcv.runner.BaseModule):
        def __init__(self):
            super().__init__(constant("Conv2d", 1, 2))
            self.own = Own()

    model = Outer()
    model.init_weights()
    assert bool((model.own.conv.weight == 9).all())
    assert bool((model.own.conv.bias == 2).all())


def test_what_was_done_is_noted(mmcv):
    from mmcv.cnn.utils.weight_init import update_init_info

    class Three(mmcv.runner.BaseModule):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv3, self.fc1 = nn.Conv2d(1, 1, 1, 1), nn.Conv2d(1, 1, 1, 1), nn.Linear(1, 1)

    model = Three()
    model._params_init_info = defaultdict(dict)
    for parameter in model.parameters():
        model._params_init_info[parameter]["init_info"] = "init"
        model._params_init_info[parameter]["tmp_mean_value"] = parameter.data.mean()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1)
    update_init_info(model, init_info="fill_1")
    for item in model._params_init_info.values():
        assert item["init_info"] == "fill_1"
        assert item["tmp_mean_value"] == 1
    model.conv1.bias = nn.Parameter(torch.ones_like(model.conv1.bias))
    with pytest.raises(AssertionError):
        update_init_info(model, init_info=" ")


@pytest.fixture
def log_file(mmcv, tmp_path):
    """The first logger of the process, with a file."""
    from mmcv.utils.logging import get_logger, logger_initialized

    before = dict(logger_initialized)
    logger_initialized.clear()
    path = tmp_path / "train.log"
    logger = get_logger("suite_init", log_file=str(path))
    yield path
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logging.Logger.manager.loggerDict.pop("suite_init", None)
    logger_initialized.clear()
    logger_initialized.update(before)


def test_what_was_done_is_in_the_log(mmcv, log_file):
    class OwnConv(nn.Conv2d, mmcv.runner.BaseModule):
        def init_weights(self):
            for parameter in self.parameters():
                with torch.no_grad():
                    parameter.fill_(1)

    class Model(mmcv.runner.BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv1 = nn.Conv2d(1, 1, 1, 1)
            self.conv2 = OwnConv(1, 1, 1, 1)
            self.conv3 = nn.Conv2d(1, 1, 1, 1)
            self.fc1 = nn.Linear(1, 1)
            self.rest = nn.Conv1d(1, 1, 1)

    normal = {"type": "Normal", "layer": "Conv2d", "std": 0.01}
    override = {"type": "Normal", "name": "conv3", "std": 0.01, "bias_prob": 0.01}
    model = Model([{**normal, "override": override}, {"type": "Constant", "layer": "Linear", "val": 0.0, "bias": 1.0}])
    model.init_weights()
    lines = log_file.read_text().splitlines()
    said = {}
    for name, _ in model.named_parameters():
        at = next(number for number, line in enumerate(lines) if line.startswith(f"{name} - torch.Size("))
        said[name] = lines[at + 1]
    assert said["conv1.weight"].startswith("NormalInit: ")
    assert said["conv3.bias"].startswith("NormalInit: ")
    assert "bias=-4.595" in said["conv3.bias"]
    assert "OwnConv" in said["conv2.weight"]
    assert said["fc1.bias"].startswith("ConstantInit: ")
    assert "Init: " not in said["rest.weight"]
    assert "Model" in said["rest.weight"]


def test_containers(mmcv):
    runner = mmcv.runner
    cfg = constant("Linear", 1, 2)
    sequence = runner.Sequential(nn.Linear(2, 2), nn.Linear(2, 1), init_cfg=cfg)
    modules = runner.ModuleList([nn.Linear(2, 2)], init_cfg=cfg)
    by_name = runner.ModuleDict({"one": nn.Linear(2, 2)}, init_cfg=cfg)
    for module in (sequence, modules, by_name):
        assert module.init_cfg == cfg
        module.init_weights()
    assert filled(sequence[1], 1, 2)
    assert filled(modules[0], 1, 2)
    assert filled(by_name["one"], 1, 2)
    assert sequence(torch.ones(1, 2)).shape == (1, 1)
    assert len(runner.ModuleList(init_cfg=cfg)) == len(runner.ModuleDict(init_cfg=cfg)) == 0


def test_initialisers_of_a_model(mmcv):
    """The functions and the classes behind the names of a config."""
    from mmcv.cnn import (
        ConstantInit,
        NormalInit,
        bias_init_with_prob,
        constant_init,
        initialize,
        kaiming_init,
        normal_init,
        xavier_init,
    )

    assert bias_init_with_prob(0.01) == pytest.approx(-4.59511985)
    layer = nn.Conv2d(3, 16, 3)
    constant_init(layer, 0.1)
    assert bool((layer.weight == 0.1).all())
    assert bool((layer.bias == 0).all())
    for function in (kaiming_init, xavier_init):
        function(layer, bias=0.1)
        assert bool((layer.bias == 0.1).all())
        with pytest.raises((AssertionError, ValueError)):
            function(layer, distribution="student-t")
    normal_init(layer, mean=4, std=0.01, bias=0.2)
    assert float(layer.weight.detach().mean()) == pytest.approx(4, abs=0.1)
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Linear(1, 2))
    ConstantInit(val=1, bias=2, layer="Conv2d")(model)
    assert filled(model[0], 1, 2)
    with pytest.raises(TypeError):
        ConstantInit(val=1, bias_prob="0.1", layer="Conv2d")
    with pytest.raises(TypeError):
        NormalInit(layer=1)
    initialize(model, constant("Linear", 3, 4))
    assert filled(model[2], 3, 4)
    with pytest.raises(TypeError):
        initialize(model, "init_cfg")
