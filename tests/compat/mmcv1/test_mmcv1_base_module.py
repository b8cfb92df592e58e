"""What the suite of `mmcv.runner.BaseModule` does not say: the same numbers as MMCV's, and how ours fits in."""

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, TrainwrightError
from trainwright.compat.mmcv1.cnn import INITIALIZERS, initialize
from trainwright.compat.mmcv1.cnn.utils.weight_init import update_init_info
from trainwright.compat.mmcv1.runner import base_module
from trainwright.model import BaseModule
from trainwright.registry import WEIGHT_INITIALIZERS

CONFIGS = [
    {"type": "Constant", "layer": ["Linear", "Conv1d"], "val": 0.5, "bias": 2},
    {"type": "Normal", "layer": "Linear", "mean": 1, "std": 0.1, "bias_prob": 0.01},
    {"type": "Uniform", "layer": "Linear", "a": -1, "b": 2},
    {"type": "Xavier", "layer": "Linear", "gain": 2, "distribution": "uniform"},
    {"type": "Kaiming", "layer": ["Linear", "Conv1d"]},
    {"type": "Caffe2Xavier", "layer": "Linear"},
    {"type": "TruncNormal", "layer": "Linear", "std": 0.02},
    [
        {"type": "Normal", "layer": "Linear"},
        {"type": "Constant", "val": 1, "override": {"name": "conv", "type": "Normal"}},
    ],
]


def made(module, cfg):
    """A module's parameters after `init_weights`, from fixed random streams."""

    class Net(module.BaseModule):
        def __init__(self):
            super().__init__(cfg)
            self.fc = nn.Linear(2, 3)
            self.conv = nn.Conv1d(2, 3, 1)
            self.inner = module.Sequential(nn.Linear(2, 2), init_cfg={"type": "Normal", "layer": "Linear", "std": 3.0})

    torch.manual_seed(1)
    net = Net()
    torch.manual_seed(2)
    net.init_weights()
    assert net.is_init
    return {name: param.detach().clone() for name, param in net.named_parameters()}


@pytest.mark.parametrize("cfg", CONFIGS, ids=lambda cfg: cfg["type"] if isinstance(cfg, dict) else "list")
def test_numbers_are_those_of_mmcv(mmcv, cfg):
    through_face, own = made(mmcv.runner, cfg), made(base_module, cfg)
    assert through_face.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(through_face[name], value), name


def test_modules_are_modules_of_ours_too():
    module = base_module.ModuleDict(
        {"a": base_module.ModuleList([nn.Linear(1, 1)])}, init_cfg={"type": "Constant", "val": 1}
    )
    assert isinstance(module, BaseModule)
    assert "init_cfg={'type': 'Constant', 'val': 1}" in repr(module)
    assert base_module.Sequential(nn.ReLU())(torch.tensor(-1.0)) == 0


def test_initialisers_have_a_registry_of_their_own():
    @INITIALIZERS.register_module()
    class Seven:
        wholemodule = False

        def __call__(self, module):
            nn.init.constant_(module.weight, 7)

    try:
        layer = nn.Linear(1, 1)
        initialize(layer, {"type": "Seven"})
        assert layer.weight.item() == 7
        assert WEIGHT_INITIALIZERS.get("Seven") is None
    finally:
        del INITIALIZERS.module_dict["Seven"]
    with pytest.raises(KeyError, match=r"Norml is not in the initializer registry\. Did you mean 'Normal'\?"):
        initialize(layer, {"type": "Norml"})


def test_overrides_of_what_is_not_there():
    with pytest.raises(RuntimeError, match=r"'waight', and Linear did not have attribute waight"):
        initialize(nn.Linear(1, 1), {"type": "Normal", "override": [{"name": "waight", "type": "Normal"}]})
    with pytest.raises(ConfigError, match=r"Did you mean 'fc1'\?"):
        initialize(base_module.ModuleDict({"fc1": nn.Linear(1, 1)}), {"type": "Normal", "override": {"name": "fc2"}})
    for cfg in ("Normal", [1], {"type": "Normal", "override": "fc"}):
        with pytest.raises(TypeError, match="must be a dict"):
            initialize(nn.Linear(1, 1), cfg)


def test_a_parameter_that_appears_while_weights_are_initialised():
    class Changing(base_module.BaseModule):
        def init_weights(self):
            self.new = nn.Parameter(torch.zeros(1))

    with pytest.raises(
        AssertionError, match="init_weights of Changing added or replaced the parameter 'new'"
    ) as caught:
        base_module.Sequential(Changing()).init_weights()
    assert isinstance(caught.value, TrainwrightError)
    with pytest.raises(AssertionError, match="Linear has no _params_init_info"):
        update_init_info(nn.Linear(1, 1), "by hand")
