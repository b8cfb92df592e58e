"""Activation checkpointing and convolutions that take their norm in: same numbers, less memory."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.model import ExponentialMovingAverage, turn_on_activation_checkpointing, turn_on_efficient_conv_bn_eval
from trainwright.runner import Runner
from trainwright.testing.toys import differences, toy_config


class Counted(nn.Linear):
    calls = 0

    def forward(self, x, scale=1.0):
        Counted.calls += 1
        return nn.functional.dropout(super().forward(x), 0.5, self.training) * scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block, self.head = Counted(4, 4), nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.block(x, scale=2.0))


def gradients(model):
    torch.manual_seed(3)
    model(torch.ones(2, 4)).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def test_checkpointing_computes_again():
    torch.manual_seed(0)
    plain = Net()
    model = deepcopy(plain)
    turn_on_activation_checkpointing(model, "block")
    turn_on_activation_checkpointing(model, ["block"])  # a second time changes nothing
    Counted.calls = 0
    found = gradients(model)
    assert Counted.calls == 2
    assert not differences(found, gradients(plain))
    Counted.calls = 0
    with torch.no_grad():
        model(torch.ones(2, 4))
    assert Counted.calls == 1
    assert list(model.state_dict()) == list(plain.state_dict())


def test_a_copy_runs_its_own_weights():
    model = Net().eval()
    turn_on_activation_checkpointing(model, "block")
    copied = deepcopy(model)
    nn.init.zeros_(copied.block.weight)
    nn.init.zeros_(copied.block.bias)
    assert torch.equal(copied(torch.ones(1, 4)), copied.head.bias.view(1, 1))
    average = ExponentialMovingAverage(model)
    with torch.no_grad():
        model.block.weight.add_(1.0)
    assert not torch.equal(average(torch.ones(1, 4)), model(torch.ones(1, 4)))


class Block(nn.Module):
    """One pair of its own, one inside a Sequential; a norm behind a relu, one whose input is used twice, one shared."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3)
        self.pair = nn.Sequential(nn.Conv2d(3, 3, 1, groups=3), nn.BatchNorm2d(3, affine=False), nn.ReLU())
        self.conv3, self.bn3 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.conv4, self.bn4 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.conv5, self.bn5 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.up, self.bn6 = nn.ConvTranspose2d(3, 3, 2), nn.BatchNorm2d(3)
        self.conv7, self.bn7 = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x):
        x = self.pair(self.bn1(self.conv1(x)).relu())
        x = self.bn3(self.conv3(x).relu())
        y = self.conv4(x)
        x = self.bn4(y) + y
        x = self.bn5(self.conv5(self.bn5(self.conv5(x))))
        return self.bn7(self.conv7(self.bn6(self.up(x))))


def block():
    torch.manual_seed(0)
    model = Block()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.eval()


def folded(model):
    return [name for name, module in model.named_modules() if "forward" in vars(module) and name]


def test_conv_bn_in_eval(capsys):
    plain, model = block(), block()
    turn_on_efficient_conv_bn_eval(model, "")
    images = torch.randn(2, 2, 6, 6)
    expected = plain(images)
    assert torch.equal(model(images), expected)  # the first one runs as ever
    assert folded(model) == ["conv1", "bn1", "pair.0", "pair.1"]
    assert "2 convolutions of Block take their batch norm in" in capsys.readouterr().err
    calls = []
    handle = model.bn1.register_forward_hook(lambda module, args, out: calls.append(args[0] is out))
    torch.testing.assert_close(model(images), expected, rtol=1e-5, atol=1e-5)
    assert calls == [True]
    handle.remove()
    assert list(model.state_dict()) == list(plain.state_dict())


def test_conv_bn_trains_with_a_frozen_norm_and_as_ever_with_one_in_training():
    plain, model = block(), block()
    turn_on_efficient_conv_bn_eval(model, ["pair"])
    images = torch.randn(2, 2, 6, 6)
    model(images)
    assert folded(model) == ["pair", "pair.0", "pair.1"]
    for mode in (False, True):
        found = []
        for one in (model, plain):
            one.train(mode)
            one.zero_grad()
            one(images).square().mean().backward()
            found.append({name: parameter.grad for name, parameter in one.named_parameters()})
        for name in found[0]:
            torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-5)
    assert not differences(dict(model.state_dict()), dict(plain.state_dict()))


def test_it_waits_for_norms_in_eval_mode():
    model = block().train()
    turn_on_efficient_conv_bn_eval(model, "pair")
    model(torch.randn(2, 2, 6, 6))
    assert folded(model) == ["pair"]
    model.eval()(torch.randn(2, 2, 6, 6))
    assert folded(model) == ["pair", "pair.0", "pair.1"]


def test_a_copy_folds_its_own_norm():
    model = block()
    turn_on_efficient_conv_bn_eval(model, "pair")
    model(torch.randn(2, 2, 6, 6))
    copied = deepcopy(model)
    nn.init.constant_(copied.pair[1].running_mean, 50.0)
    images = torch.randn(1, 3, 4, 4)
    assert torch.all(copied.pair(images) == 0)
    assert torch.any(model.pair(images) != 0)


def test_a_data_flow_that_changes_is_refused():
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn, self.relu = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), False

        def forward(self, x):
            x = self.conv(x)
            return self.bn(x.relu() if self.relu else x)

    model = Fickle().eval()
    turn_on_efficient_conv_bn_eval(model, "")
    model(torch.ones(1, 1, 2, 2))
    model.relu = True
    with pytest.raises(ConfigError, match="did not get the output of the convolution that it followed"):
        model(torch.ones(1, 1, 2, 2))
    assert torch.equal(model.bn(torch.ones(1, 1, 2, 2)), nn.BatchNorm2d(1).eval()(torch.ones(1, 1, 2, 2)))


@pytest.mark.parametrize("turn_on", [turn_on_activation_checkpointing, turn_on_efficient_conv_bn_eval])
def test_wrong_names(turn_on):
    with pytest.raises(ConfigError, match="names 'blok', which is no module in Net. Did you mean 'block'"):
        turn_on(Net(), ["head", "blok"])
    with pytest.raises(ConfigTypeError, match="must be the name of a module in the model, or a list of them, got 3"):
        turn_on(Net(), 3)


def test_config_keys(tmp_path):
    plain = Runner.from_cfg(toy_config(tmp_path / "plain"))
    plain.train()
    runner = Runner.from_cfg(
        toy_config(tmp_path / "with", activation_checkpointing="first", efficient_conv_bn_eval=["second"])
    )
    runner.train()
    assert "forward" in vars(runner.model.first)
    assert not differences(dict(runner.model.state_dict()), dict(plain.model.state_dict()))
    wrong = Runner.from_cfg(toy_config(tmp_path / "wrong", activation_checkpointing="frist"))
    with pytest.raises(ConfigError, match="activation_checkpointing names 'frist'.*Did you mean 'first'"):
        wrong.train()
