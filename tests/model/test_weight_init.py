"""The initialisers, alone and through init_cfg, the record of who did what, and what is refused."""

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError, RegistryError
from trainwright.base.logs import MMLogger
from trainwright.model import (
    BaseInit,
    BaseModule,
    ConstantInit,
    ModuleList,
    Sequential,
    bias_init_with_prob,
    constant_init,
    initialize,
    kaiming_init,
    normal_init,
    trunc_normal_,
    update_init_info,
    xavier_init,
)
from trainwright.registry import WEIGHT_INITIALIZERS


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2)))


@pytest.mark.parametrize(
    ("cfg", "by_hand"),
    [
        ({"type": "Constant", "val": 3}, lambda w: nn.init.constant_(w, 3)),
        ({"type": "Xavier", "gain": 2}, lambda w: nn.init.xavier_normal_(w, 2)),
        ({"type": "Xavier", "distribution": "uniform"}, nn.init.xavier_uniform_),
        ({"type": "Normal", "mean": 1, "std": 0.5}, lambda w: nn.init.normal_(w, 1, 0.5)),
        ({"type": "Uniform", "a": -1, "b": 2}, lambda w: nn.init.uniform_(w, -1, 2)),
        ({"type": "Kaiming"}, lambda w: nn.init.kaiming_normal_(w, 0, "fan_out", "relu")),
        (
            {"type": "Kaiming", "a": 1, "mode": "fan_in", "nonlinearity": "leaky_relu", "distribution": "uniform"},
            lambda w: nn.init.kaiming_uniform_(w, 1, "fan_in", "leaky_relu"),
        ),
        ({"type": "Caffe2Xavier"}, lambda w: nn.init.kaiming_uniform_(w, 1, "fan_in", "leaky_relu")),
    ],
)
def test_against_torch(cfg, by_hand):
    model = network()
    torch.manual_seed(5)
    initialize(model, {**cfg, "layer": ["Conv2d", "Linear"], "bias": 0.25})
    torch.manual_seed(5)
    for layer in (model[0], model[2][0], model[2][1]):
        expected = torch.empty_like(layer.weight)
        by_hand(expected)
        assert torch.equal(layer.weight, expected)
        assert torch.all(layer.bias == 0.25)
    assert torch.all(model[1].weight == 1)


def test_truncated_normal():
    torch.manual_seed(0)
    values = trunc_normal_(torch.empty(100_000), mean=0.5, std=1.0, a=-0.5, b=1.5)
    assert -0.5 <= values.min() <= values.max() <= 1.5
    assert values.mean().item() == pytest.approx(0.5, abs=0.01)
    assert values.std().item() == pytest.approx(0.5396, abs=0.01)  # of the normal distribution within one sigma
    initialize(layer := nn.Linear(50, 50), {"type": "TruncNormal", "std": 0.1, "a": -0.1, "b": 0.1, "layer": "Linear"})
    assert layer.weight.abs().max() <= 0.1
    with pytest.warns(UserWarning, match="mean=5 lies more than two std=1 outside"):
        trunc_normal_(torch.empty(2), mean=5, std=1)


def test_layers_are_named_by_class_or_its_direct_base():
    class Mine(nn.Linear):
        pass

    class Further(Mine):
        pass

    model = nn.Sequential(nn.Linear(1, 1), Mine(1, 1), Further(1, 1))
    for layer in model:
        nn.init.zeros_(layer.weight)
    ConstantInit(val=1, layer="Linear")(model)
    assert [layer.weight.item() for layer in model] == [1, 1, 0]


def test_bias_by_probability():
    initialize(layer := nn.Linear(2, 2), {"type": "Constant", "val": 0, "bias_prob": 0.01, "layer": "Linear"})
    assert torch.sigmoid(layer.bias).tolist() == pytest.approx([0.01, 0.01])
    assert bias_init_with_prob(0.5) == 0


def test_modules_without_weight_or_bias():
    for init in (lambda m: constant_init(m, 1), xavier_init, normal_init, kaiming_init):
        init(nn.ReLU())
        init(nn.Linear(2, 2, bias=False))


class Head(BaseModule):
    def __init__(self, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.feat, self.cls = nn.Linear(2, 2), nn.Linear(2, 2)


def values(module):
    return [parameter.view(-1)[0].item() for parameter in module.parameters()]


def test_override():
    override = [{"type": "Constant", "name": "cls", "val": 3, "bias": 4}]
    cfg = {"type": "Constant", "layer": "Linear", "val": 1, "bias": 2, "override": override}
    head = Head(cfg)
    head.init_weights()
    assert values(head) == [1, 2, 3, 4]
    assert cfg["override"] == [{"type": "Constant", "name": "cls", "val": 3, "bias": 4}]
    head = Head({"type": "Constant", "val": 7, "override": {"name": "cls"}})
    nn.init.zeros_(head.feat.weight)
    head.init_weights()
    assert values(head)[0] == 0
    assert values(head)[2:] == [7, 0]


class Net(BaseModule):
    """A child with its own way, one with a config, and one of torch."""

    def __init__(self, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.own, self.head, self.plain = (
            OwnWay(),
            Head({"type": "Constant", "layer": "Linear", "val": 1}),
            nn.Linear(2, 1),
        )


class OwnWay(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def init_weights(self):
        nn.init.constant_(self.weight, 8)


def test_the_record(tmp_path):
    logger = MMLogger.get_instance("record", log_file=tmp_path / "log", log_level="ERROR")
    net = Net({"type": "Constant", "layer": "Linear", "val": 5, "bias": 6})
    with logger.as_current():
        net.init_weights()
    text = (tmp_path / "log").read_text()
    assert "how the parameters were initialised" in text
    for line in (
        "own.weight (1,): init_weights of OwnWay",
        "head.feat.weight (2, 2): ConstantInit: bias=0, val=1",
        "plain.weight (1, 2): ConstantInit: bias=6, val=5",
    ):
        assert line in text
    assert not any(hasattr(module, "_params_init_info") for module in net.modules())
    assert net.is_init
    assert net.head.is_init


def test_the_record_without_a_file_and_without_a_change(capsys):
    torch.manual_seed(0)
    Head().init_weights()
    assert "feat.weight (2, 2): the same as before init_weights of Head" in capsys.readouterr().err


def test_the_record_knows_every_kind_of_parameter(capsys):
    class Kinds(BaseModule):
        def __init__(self) -> None:
            super().__init__()
            self.whole = nn.Parameter(torch.zeros(2, dtype=torch.long), requires_grad=False)
            self.twofold = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
            self.later = nn.LazyLinear(2)
            self.nowhere = nn.Parameter(torch.zeros(2, device="meta"))
            self.own = OwnWay()

    kinds = Kinds()
    kinds.own.init_weights = lambda: nn.init.constant_(kinds.twofold, 1j)
    kinds.init_weights()
    said = capsys.readouterr().err
    assert "whole (2,): the same as before" in said
    assert "later.weight (shape not known yet): the same as before" in said
    assert "twofold (2,): the same as before" in said  # the parent's, which nobody but its child has changed


def test_an_error_leaves_no_record_behind():
    head = Head({"type": "Constant", "val": 1, "layer": "Linear", "override": {"name": "clz"}})
    with pytest.raises(ConfigError, match="clz"):
        head.init_weights()
    assert not any(hasattr(module, "_params_init_info") for module in head.modules())
    assert not head.is_init


def test_parameters_made_while_initialising():
    class Late(BaseModule):
        def init_weights(self):
            self.weight = nn.Parameter(torch.zeros(1))

    with pytest.raises(ConfigError, match="init_weights of Late added or replaced the parameter 'weight'"):
        ModuleList([Late()]).init_weights()
    with pytest.raises(ConfigError, match="Linear has no _params_init_info"):
        update_init_info(nn.Linear(1, 1), "x")


def test_wrapped_children_are_initialised():
    class Wrapped(nn.DataParallel):
        pass

    net = Sequential(Wrapped(Head({"type": "Constant", "layer": "Linear", "val": 2})))
    net.init_weights()
    assert values(net)[0] == 2


def test_an_initialiser_of_ones_own():
    @WEIGHT_INITIALIZERS.register_module(name="OwnForTest")
    class Own(BaseInit):
        def __call__(self, module):
            for parameter in module.parameters():
                nn.init.constant_(parameter, self.bias)

    try:
        head = Head({"type": "OwnForTest", "bias": 9, "layer": "Linear"})
        head.init_weights()
    finally:
        del WEIGHT_INITIALIZERS.module_dict["OwnForTest"]
    assert values(head) == [9] * 4
    with pytest.raises(NotImplementedError, match=r"BaseInit must write _init"):
        BaseInit(layer="Linear")(head)


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        (3, ConfigTypeError, "init_cfg must be a dict or a list of dicts, got 3"),
        ([3], ConfigTypeError, "an item of the list is 3"),
        ({"type": "Kaimin", "layer": "Linear"}, RegistryError, "Kaimin(.|\n)*Kaiming"),
        ({"layer": "Linear"}, RegistryError, '"type"'),
        ({"type": "Constant", "layer": "Linear"}, ConfigTypeError, "missing argument 'val'"),
        ({"type": "Normal", "stdd": 1, "layer": "Linear"}, ConfigTypeError, "unknown argument 'stdd'.*'std'"),
        (
            {"type": "Normal", "layer": "Linaer"},
            ConfigError,
            "init_cfg of Head names the layer 'Linaer'.*mean 'Linear'",
        ),
        ({"type": "Normal", "layer": 3}, ConfigTypeError, "NormalInit: layer must be a class name or a list.*got 3"),
        ({"type": "Normal", "bias": "1"}, ConfigTypeError, "NormalInit: bias must be a number, got '1'"),
        ({"type": "Normal", "bias_prob": 1}, ConfigTypeError, "bias_prob must be a float between 0 and 1, got 1"),
        ({"type": "Normal", "bias_prob": 1.5}, ConfigError, "must lie between 0 and 1, both left out, got 1.5"),
        ({"type": "Xavier", "distribution": "norma"}, ConfigError, "'normal' or 'uniform', got 'norma'.*'normal'"),
        ({"type": "Normal", "override": 3}, ConfigTypeError, "override in init_cfg of Head must be a dict.*got 3"),
        ({"type": "Normal", "override": {"type": "Normal"}}, ConfigError, "must have a name, the attribute that it is"),
        ({"type": "Normal", "override": {"name": "cls", "std": 1}}, ConfigError, "'cls'.*has arguments and no type"),
        ({"type": "Normal", "override": {"name": "clss"}}, ConfigError, "Head has no such attribute.*mean 'cls'"),
        (
            {"type": "Normal", "override": {"name": "training"}},
            ConfigError,
            "Head has a bool there, which is no module",
        ),
    ],
)
def test_wrong_configs(cfg, error, message):
    with pytest.raises(error, match=message):
        initialize(Head(), cfg)


def test_a_layer_that_is_elsewhere_is_no_mistake():
    Head({"type": "Constant", "val": 1, "layer": ["Linear", "Conv2d", "Bilinear", "_BatchNorm"]}).init_weights()


def test_a_config_that_does_nothing_is_warned_of(capsys):
    Head({"type": "Normal"}).init_weights()
    assert "initialises nothing: it names no layer and has no override" in capsys.readouterr().err


def test_the_error_of_an_initialiser_says_where():
    with pytest.raises(ValueError, match="Fan in and fan out") as caught:
        initialize(nn.Sequential(nn.BatchNorm2d(2)), {"type": "Xavier", "layer": "BatchNorm2d"})
    assert "while initialising Sequential by {'type': 'Xavier'" in "".join(caught.value.__notes__)
