"""mmengine.model.base_module: modules that initialise themselves, and what they write about it."""

import logging
import os

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")

CONSTANTS = [
    {"type": "Constant", "val": 1, "bias": 2, "layer": "Linear"},
    {"type": "Constant", "val": 3, "bias": 4, "layer": "Conv1d"},
    {"type": "Constant", "val": 5, "bias": 6, "layer": "Conv2d"},
]


def is_full(module, weight, bias):
    return bool((module.weight == weight).all() and (module.bias == bias).all())


@pytest.fixture
def zoo():  # noqa: C901  # noqa: C901 - classes of MMEngine's, which can only be derived from once the face is on
    """Registries of a model and its parts, whose configs nest."""
    from mmengine import Registry
    from mmengine.model import BaseModule

    parts, models = Registry("component"), Registry("model")

    @parts.register_module()
    class FooConv1d(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv1d = nn.Conv1d(4, 1, 4)

        def forward(self, x):
            return self.conv1d(x)

    @parts.register_module()
    class FooConv2d(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv2d = nn.Conv2d(3, 1, 3)

    @parts.register_module()
    class FooLinear(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.linear = nn.Linear(3, 4)

    @parts.register_module()
    class FooLinearConv1d(BaseModule):
        def __init__(self, linear=None, conv1d=None, init_cfg=None):
            super().__init__(init_cfg)
            if linear is not None:
                self.linear = parts.build(linear)
            if conv1d is not None:
                self.conv1d = parts.build(conv1d)

    @models.register_module()
    class FooModel(BaseModule):
        def __init__(self, component1=None, component2=None, component3=None, component4=None, init_cfg=None):
            super().__init__(init_cfg)
            for n, cfg in enumerate((component1, component2, component3, component4), 1):
                if cfg is not None:
                    setattr(self, f"component{n}", parts.build(cfg))
            self.reg = nn.Linear(3, 4)

    return models, FooConv1d, FooConv2d


def model_cfg(**more):
    return {
        "type": "FooModel",
        "init_cfg": [dict(item) for item in CONSTANTS],
        "component1": {"type": "FooConv1d"},
        "component2": {"type": "FooConv2d"},
        "component3": {"type": "FooLinear"},
        "component4": {
            "type": "FooLinearConv1d",
            "linear": {"type": "FooLinear"},
            "conv1d": {"type": "FooConv1d"},
        },
        **more,
    }


def test_whether_it_is_initialised():
    from mmengine.model import BaseModule

    module = BaseModule()
    assert module.is_init is False
    module.is_init = True
    assert module._is_init is True


def test_the_init_cfg_of_a_model_reaches_all_layers(zoo):
    model = zoo[0].build(model_cfg())
    model.init_weights()
    assert is_full(model.component1.conv1d, 3, 4)
    assert is_full(model.component2.conv2d, 5, 6)
    assert is_full(model.component3.linear, 1, 2)
    assert is_full(model.component4.linear.linear, 1, 2)
    assert is_full(model.component4.conv1d.conv1d, 3, 4)
    assert is_full(model.reg, 1, 2)
    assert model.is_init


def test_the_inner_init_cfg_counts(zoo):
    cfg = model_cfg(
        component1={"type": "FooConv1d", "init_cfg": {"type": "Constant", "layer": "Conv1d", "val": 7, "bias": 8}},
        component2={"type": "FooConv2d", "init_cfg": {"type": "Constant", "layer": "Conv2d", "val": 9, "bias": 10}},
        component4={
            "type": "FooLinearConv1d",
            "linear": {
                "type": "FooLinear",
                "init_cfg": {"type": "Constant", "layer": "Linear", "val": 11, "bias": 12},
            },
            "conv1d": {"type": "FooConv1d"},
            "init_cfg": {"type": "Constant", "layer": "Conv1d", "val": 13, "bias": 14},
        },
    )
    model = zoo[0].build(cfg)
    model.init_weights()
    assert is_full(model.component1.conv1d, 7, 8)
    assert is_full(model.component2.conv2d, 9, 10)
    assert is_full(model.component3.linear, 1, 2)
    assert is_full(model.component4.linear.linear, 11, 12)
    assert is_full(model.component4.conv1d.conv1d, 13, 14)
    assert is_full(model.reg, 1, 2)


def test_without_a_layer_only_children_with_a_config_are_initialised(zoo):
    cfg = {
        "type": "FooModel",
        "init_cfg": {"type": "Constant", "val": 1, "bias": 2, "layer": None},
        "component1": {"type": "FooConv1d"},
        "component2": {"type": "FooConv2d", "init_cfg": {"type": "Constant", "val": 3, "bias": 4, "layer": "Conv2d"}},
        "component3": {"type": "FooLinear"},
    }
    model = zoo[0].build(cfg)
    model.init_weights()
    assert not is_full(model.component1.conv1d, 1, 2)
    assert is_full(model.component2.conv2d, 3, 4)
    assert not is_full(model.component3.linear, 1, 2)
    assert not is_full(model.reg, 1, 2)


def test_an_override_is_for_one_part(zoo):
    override = {"type": "Constant", "val": 13, "bias": 14, "name": "reg"}
    cfg = {
        "type": "FooModel",
        "init_cfg": [{"type": "Constant", "val": 10, "bias": 20, "override": override}],
        "component1": {"type": "FooConv1d", "init_cfg": {"type": "Constant", "val": 1, "bias": 2, "layer": "Conv1d"}},
        "component2": {"type": "FooConv2d", "init_cfg": {"type": "Constant", "val": 3, "bias": 4, "layer": "Conv2d"}},
    }
    model = zoo[0].build(cfg)
    model.init_weights()
    assert is_full(model.reg, 13, 14)
    assert is_full(model.component1.conv1d, 1, 2)
    assert is_full(model.component2.conv2d, 3, 4)
    assert cfg["init_cfg"][0]["override"] == {"type": "Constant", "val": 13, "bias": 14, "name": "reg"}

    cfg["init_cfg"] = {"type": "Constant", "val": 5, "bias": 6, "override": {"name": "reg"}}
    model = zoo[0].build(cfg)
    model.init_weights()
    assert is_full(model.reg, 5, 6)
    assert is_full(model.component2.conv2d, 3, 4)


def test_pretrained_weights_come_last(zoo, tmp_path):
    model = zoo[0].build(model_cfg())
    model.init_weights()
    path = str(tmp_path / "model.pth")
    torch.save(model.state_dict(), path)
    for kind in ("Pretrained", "class"):
        from mmengine.model import PretrainedInit

        pretrained = {"type": kind if kind == "Pretrained" else PretrainedInit, "checkpoint": path}
        other = {"type": "Constant", "val": 30, "bias": 40, "layer": ["Linear", "Conv1d", "Conv2d"]}
        loaded = zoo[0].build(model_cfg(init_cfg=[pretrained, other]))
        loaded.init_weights()
        assert is_full(loaded.reg, 1, 2)
        assert is_full(loaded.component2.conv2d, 5, 6)


def test_sequential(zoo):
    from mmengine.model import Sequential

    _, conv1d, conv2d = zoo
    own = [
        conv1d(init_cfg={"type": "Constant", "layer": "Conv1d", "val": 0.0, "bias": 1.0}),
        conv2d(init_cfg={"type": "Constant", "layer": "Conv2d", "val": 2.0, "bias": 3.0}),
    ]
    model = Sequential(*own)
    model.init_weights()
    assert is_full(model[0].conv1d, 0, 1)
    assert is_full(model[1].conv2d, 2, 3)
    outer = {"type": "Constant", "layer": ["Conv1d", "Conv2d"], "val": 4.0, "bias": 5.0}
    model = Sequential(*own, init_cfg=outer)
    model.init_weights()
    assert is_full(model[0].conv1d, 4, 5)  # initialised once already: their own configs do not count again
    assert is_full(model[1].conv2d, 4, 5)


def test_module_list(zoo):
    from mmengine.model import ModuleList

    _, conv1d, conv2d = zoo
    parts = [
        conv1d(init_cfg={"type": "Constant", "layer": "Conv1d", "val": 0.0, "bias": 1.0}),
        conv2d(init_cfg={"type": "Constant", "layer": "Conv2d", "val": 2.0, "bias": 3.0}),
    ]
    outer = {"type": "Constant", "layer": ["Conv1d", "Conv2d"], "val": 4.0, "bias": 5.0}
    model = ModuleList(parts, init_cfg=outer)
    model.init_weights()
    assert is_full(model[0].conv1d, 0, 1)
    assert is_full(model[1].conv2d, 2, 3)
    assert len(ModuleList()) == 0


def test_module_dict(zoo):
    from mmengine.model import ModuleDict

    _, conv1d, conv2d = zoo
    parts = {
        "foo_conv_1d": conv1d(init_cfg={"type": "Constant", "layer": "Conv1d", "val": 0.0, "bias": 1.0}),
        "foo_conv_2d": conv2d(init_cfg={"type": "Constant", "layer": "Conv2d", "val": 2.0, "bias": 3.0}),
    }
    outer = {"type": "Constant", "layer": ["Conv1d", "Conv2d"], "val": 4.0, "bias": 5.0}
    model = ModuleDict(parts, init_cfg=outer)
    model.init_weights()
    assert is_full(model["foo_conv_1d"].conv1d, 0, 1)
    assert is_full(model["foo_conv_2d"].conv2d, 2, 3)
    assert list(ModuleDict({"a": nn.ReLU()})) == ["a"]
    assert "init_cfg=" in repr(model)
    assert "init_cfg=" not in repr(ModuleDict())


def test_a_child_in_a_wrapper_is_initialised(zoo):
    from mmengine.model import BaseModule

    class Outer(BaseModule):
        def __init__(self, child):
            super().__init__()
            self.child = nn.DataParallel(child)

    _, conv1d, _ = zoo
    child = conv1d(init_cfg={"type": "Constant", "layer": "Conv1d", "val": 0.5, "bias": 1.0})
    Outer(child).init_weights()
    assert is_full(child.conv1d, 0.5, 1)


def test_the_record_goes_to_the_log_file_when_there_is_one(zoo, tmp_path):
    from mmengine.logging import MMLogger

    MMLogger.get_instance("without_a_file_of_its_own")
    zoo[0].build(model_cfg()).init_weights()
    assert os.listdir(tmp_path) == []
    path = tmp_path / "out.log"
    MMLogger.get_instance("with_a_file_of_its_own", log_file=str(path))
    zoo[0].build(model_cfg()).init_weights()
    assert os.listdir(tmp_path) == ["out.log"]
    assert path.stat().st_size != 0


def test_what_the_log_says_of_each_parameter(tmp_path):
    from mmengine.fileio import list_from_file
    from mmengine.logging import MMLogger
    from mmengine.model import BaseModule

    class OwnConv(nn.Conv2d, BaseModule):
        def init_weights(self):
            with torch.no_grad():
                for param in self.parameters():
                    param.fill_(1)

    class Net(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv1 = nn.Conv2d(1, 1, 1, 1)
            self.conv2 = OwnConv(1, 1, 1, 1)
            self.conv3 = nn.Conv2d(1, 1, 1, 1)
            self.fc1 = nn.Linear(1, 1)

    override = {"type": "Normal", "name": "conv3", "std": 0.01, "bias_prob": 0.01}
    model = Net(
        init_cfg=[
            {"type": "Normal", "layer": "Conv2d", "std": 0.01, "override": override},
            {"type": "Constant", "layer": "Linear", "val": 0.0, "bias": 1.0},
        ]
    )
    path = tmp_path / "20210720_132454.log"
    MMLogger.get_instance("of_the_record", log_file=str(path))
    assert not hasattr(model, "_params_init_info")
    model.init_weights()
    assert not hasattr(model, "_params_init_info")
    lines = list_from_file(str(path))
    expected = {"conv1.weight": "NormalInit", "conv2.weight": "OwnConv", "fc1.weight": "ConstantInit"}
    seen = set()
    for line, following in zip(lines, lines[1:], strict=False):
        for name, word in expected.items():
            if name in line:
                assert word in following
                seen.add(name)
    assert seen == set(expected)


def test_the_log_says_what_stayed_the_same(tmp_path):
    from mmengine.fileio import list_from_file
    from mmengine.logging import MMLogger
    from mmengine.model import BaseModule

    class OwnConvFc(nn.Conv2d, BaseModule):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.conv1 = nn.Linear(1, 1)

        def init_weights(self):
            with torch.no_grad():
                for param in self.parameters():
                    param.fill_(1)

    class Inner(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.conv1 = nn.Conv2d(1, 1, 1, 1)
            self.conv2 = OwnConvFc(1, 1, 1, 1)
            self.fc1 = nn.Linear(1, 1)

    class TopLevelModule(BaseModule):
        def __init__(self, init_cfg=None, inner_init_cfg=None):
            super().__init__(init_cfg)
            self.module1 = Inner(inner_init_cfg)
            self.module2 = OwnConvFc(1, 1, 1, 1)

    override = {"type": "Normal", "name": "module2", "std": 0.01, "bias_prob": 0.01}
    model = TopLevelModule(
        init_cfg=[{"type": "Normal", "layer": "Conv2d", "std": 0.01, "override": override}],
        inner_init_cfg=[{"type": "Constant", "layer": "Linear", "val": 0.0, "bias": 1.0}],
    )
    model.module1.init_weights()
    model.module2.init_weights()
    path = tmp_path / "top.log"
    MMLogger.get_instance("of_the_top", log_file=str(path))
    model.init_weights()
    assert not hasattr(model, "_params_init_info")
    lines = [line for line in list_from_file(str(path)) if "TopLevelModule" in line and "init_cfg" not in line]
    assert lines
    assert all("the same" in line for line in lines)


def test_a_second_call_warns(zoo, caplog):
    from mmengine.logging import MMLogger

    model = zoo[0].build(model_cfg())
    model.init_weights()
    logger = MMLogger.get_instance("of_the_second_call")
    logger.addHandler(caplog.handler)
    try:
        model.init_weights()
    finally:
        logger.removeHandler(caplog.handler)
    assert any(
        record.levelno == logging.WARNING and "init_weights of FooModel" in record.getMessage()
        for record in caplog.records
    )
