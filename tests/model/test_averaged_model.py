"""Averages against explicit loops and torch's own, what is averaged and what is copied, and what is refused."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

from trainwright.base.errors import ConfigError, ConfigTypeError
from trainwright.model import (
    BaseAveragedModel,
    ExponentialMovingAverage,
    MomentumAnnealingEMA,
    StochasticWeightAverage,
)
from trainwright.testing.host_reads import count_host_reads
from trainwright.testing.toys import differences


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5, 2))


def train(model, averages, n=7):
    """`n` updates, in which every parameter and every buffer changes; gives the states of the model."""
    states = []
    for _ in range(n):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model(torch.randn(4, 3, 3, 3))
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        for average in averages:
            average.update_parameters(model)
    return states


def explicit(states, share, interval=1):
    """The average of parameters, tensor by tensor: ``share(n)`` is the weight of the new value."""
    mean = dict(states[0])
    for n, state in enumerate(states[1:], 1):
        if n % interval == 0:
            mean = {k: v + share(n) * (state[k] - v) if v.is_floating_point() else state[k] for k, v in mean.items()}
    return mean


KINDS = [
    (ExponentialMovingAverage, {"momentum": 0.1}, lambda n: 0.1),
    (ExponentialMovingAverage, {"momentum": 0.5}, lambda n: 0.5),
    (MomentumAnnealingEMA, {"momentum": 0.02, "gamma": 3}, lambda n: max(0.02, 3 / (3 + n))),
    (StochasticWeightAverage, {}, lambda n: 1 / (n + 1)),
]


@pytest.mark.parametrize(("kind", "settings", "share"), KINDS)
@pytest.mark.parametrize("update_buffers", [False, True])
def test_against_an_explicit_loop(kind, settings, share, update_buffers):
    model = network()
    average = kind(model, update_buffers=update_buffers, **settings)
    states = train(model, [average])
    expected = explicit(states, share)
    for name, value in average.module.state_dict().items():
        follows = not update_buffers and name.partition(".")[2] in (
            "running_mean",
            "running_var",
            "num_batches_tracked",
        )
        torch.testing.assert_close(value, states[-1][name] if follows else expected[name], rtol=1e-6, atol=1e-6)
    assert average.steps.item() == average.n_updates == 7
    assert not any(parameter.requires_grad for parameter in average.parameters())


@pytest.mark.parametrize("interval", [2, 3])
def test_interval(interval):
    model = network()
    ema = ExponentialMovingAverage(model, 0.1, interval)
    swa = StochasticWeightAverage(model, interval=interval)
    states = train(model, [ema, swa])
    expected = explicit(states, lambda n: 0.1, interval), explicit(states, lambda n: 1 / (n // interval + 1), interval)
    for average, wanted in zip((ema, swa), expected, strict=True):
        for name, value in average.module.named_parameters():
            torch.testing.assert_close(value.detach(), wanted[name], rtol=1e-6, atol=1e-6)
        assert torch.equal(average.module[1].running_mean, states[-1]["1.running_mean"])


def test_against_torch():
    model = network()
    ours = [ExponentialMovingAverage(model, 0.1), StochasticWeightAverage(model)]
    theirs = [AveragedModel(model, multi_avg_fn=fn) for fn in (get_ema_multi_avg_fn(0.9), get_swa_multi_avg_fn())]
    train(model, [*ours, *theirs])
    for one, other in zip(ours, theirs, strict=True):
        for own, wanted in zip(one.module.parameters(), other.module.parameters(), strict=True):
            torch.testing.assert_close(own, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kind", "settings", "share"), KINDS)
def test_lists_and_single_tensors_give_the_same_bits(kind, settings, share):
    class Single(kind):
        def avg_func(self, averaged_param, source_param, steps):
            super().avg_func(averaged_param, source_param, steps)

    model = network()
    one, other = kind(model, update_buffers=True, **settings), Single(model, update_buffers=True, **settings)
    train(model, [one, other])
    assert not differences(one.state_dict(), other.state_dict())


def test_a_subclass_is_called_tensor_by_tensor():
    calls = []

    class Own(ExponentialMovingAverage):
        def avg_func(self, averaged_param, source_param, steps):
            calls.append((type(averaged_param), float(1 + steps), steps.item(), steps // self.interval))
            averaged_param.mul_(0.5).add_(source_param, alpha=0.5)

    model = network()
    average = Own(model)
    states = train(model, [average], 2)
    assert calls == [(torch.Tensor, 2.0, 1, 1)] * 6
    assert torch.allclose(average.module[3].weight, (states[0]["3.weight"] + states[1]["3.weight"]) / 2)


def test_the_method_of_an_instance_is_called():
    model, calls = network(), []
    average = ExponentialMovingAverage(model)
    average.avg_func = lambda own, source, steps: calls.append(int(steps))
    train(model, [average], 3)
    assert calls == [1] * 6 + [2] * 6


def test_a_class_without_arithmetic():
    average = BaseAveragedModel(network())
    with pytest.raises(NotImplementedError, match="BaseAveragedModel must write avg_func"):
        train(network(), [average], 2)


def test_an_update_reads_nothing():
    model = network()
    averages = [kind(model, **settings) for kind, settings, _ in KINDS]
    with count_host_reads() as reads:
        train(model, averages, 3)
    assert reads.total == 0, reads.report()


def test_steps_that_others_write_count():
    model = network()
    average, other = ExponentialMovingAverage(model), ExponentialMovingAverage(model)
    train(model, [average], 3)
    other.load_state_dict(average.state_dict())
    assert other.n_updates == 3
    other.steps.fill_(5)
    assert other.n_updates == 5
    other.steps = torch.tensor(7)
    assert other.n_updates == 7
    assert deepcopy(average).n_updates == 3
    train(model, [average], 1)
    assert average.steps.item() == average.n_updates == 4


class Rebinding(nn.Module):
    """Puts new tensors in the place of its buffers; one of them is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("centre", torch.zeros(2))
        self.register_buffer("unsaved", torch.zeros(2), persistent=False)
        self.register_buffer("count", torch.tensor(0))

    def change(self, value):
        self.centre = torch.full((2,), value)
        self.unsaved = torch.full((2,), value)
        self.count = self.count + 1


@pytest.mark.parametrize("update_buffers", [False, True])
def test_buffers_that_are_replaced(update_buffers):
    model = Rebinding()
    average = ExponentialMovingAverage(model, 0.5, update_buffers=update_buffers)
    for value in (2.0, 4.0):
        model.change(value)
        average.update_parameters(model)
    assert average.module.centre.tolist() == ([3.0] * 2 if update_buffers else [4.0] * 2)
    assert average.module.unsaved.tolist() == [4.0] * 2
    assert average.module.count.item() == 2


def test_a_module_that_is_replaced():
    model = nn.Sequential(nn.Linear(1, 1, bias=False))
    average = ExponentialMovingAverage(model, 0.5)
    average.update_parameters(model)
    model[0] = nn.Linear(1, 1, bias=False)
    old = average.module[0].weight.item()
    average.update_parameters(model)
    assert average.module[0].weight.item() == pytest.approx((old + model[0].weight.item()) / 2)


def test_shared_weights_are_averaged_once():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    average = ExponentialMovingAverage(model, 0.5, update_buffers=True)
    average.update_parameters(model)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(2.0)
    average.update_parameters(model)
    assert torch.allclose(average.module[1].weight, start + 1.0)
    assert average.module[0].weight is average.module[1].weight


def test_types_and_devices():
    """Half and complex parameters, a model that changes its type, an average of another type, one that is moved."""
    model = nn.ParameterDict(
        {"brief": torch.zeros(2, dtype=torch.bfloat16), "twofold": torch.zeros(2, dtype=torch.complex64)}
    )
    average = ExponentialMovingAverage(model, 0.5)
    average.update_parameters(model)
    for parameter in model.values():
        parameter.data.fill_(2)
    average.update_parameters(model)
    assert average.module["brief"].tolist() == [1.0, 1.0]
    assert average.module["twofold"].tolist() == [1 + 0j, 1 + 0j]
    linear = nn.Linear(2, 2)
    average = ExponentialMovingAverage(linear, 0.5, device="cpu")
    average.update_parameters(linear)
    linear.half()
    average.update_parameters(linear)
    assert average.module.weight.dtype == torch.float32
    average.swap_with(linear)
    average.double()
    average.update_parameters(linear)
    assert average.module.weight.dtype == torch.float64
    assert average.n_updates == 3


def test_another_source_of_the_same_make():
    one, other = network(), network()
    average = ExponentialMovingAverage(one, 0.5)
    average.update_parameters(one)
    with torch.no_grad():
        other[3].bias.copy_(one[3].bias + 2)
    average.update_parameters(other)
    assert torch.allclose(average.module[3].bias, one[3].bias + 1)


def test_an_average_may_be_part_of_the_model_that_it_follows():
    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = nn.Linear(1, 1)
            self.teacher = ExponentialMovingAverage(self.student, 0.5)

    twin = Twin()
    twin.teacher.update_parameters(twin.student)
    copied = deepcopy(twin)
    with torch.no_grad():
        copied.student.weight.add_(2.0)
    copied.teacher.update_parameters(copied.student)
    assert copied.teacher.module.weight.item() == pytest.approx(twin.student.weight.item() + 1)
    assert list(twin.state_dict()) == [
        *("student.weight", "student.bias", "teacher.steps", "teacher.module.weight", "teacher.module.bias"),
    ]


def test_swap_and_copy():
    model = network()
    average = ExponentialMovingAverage(model, 0.1, update_buffers=True)
    train(model, [average], 3)
    before = [deepcopy(dict(m.state_dict())) for m in (model, average.module)]
    average.swap_with(model)
    assert not differences([dict(average.module.state_dict()), dict(model.state_dict())], before)
    average.copy_from(model)
    assert not differences(dict(average.module.state_dict()), before[1])
    assert average.n_updates == 3


def test_forward_and_parameters():
    model = network()
    average = ExponentialMovingAverage(model).eval()
    image = torch.randn(2, 3, 3, 3)
    assert torch.equal(average(image), average.module(image))
    assert list(average.avg_parameters) == [name for name, _ in model.named_parameters()]
    assert list(ExponentialMovingAverage(model, update_buffers=True).avg_parameters) == list(model.state_dict())


def test_saved_whole(tmp_path: Path):
    model = network()
    average = ExponentialMovingAverage(model)
    train(model, [average], 2)
    torch.save(average, tmp_path / "average.pt")
    again = torch.load(tmp_path / "average.pt", weights_only=False)
    train(model, [average, again], 1)
    assert not differences(average.state_dict(), again.state_dict())


@pytest.mark.parametrize(
    ("kind", "settings", "error", "message"),
    [
        (ExponentialMovingAverage, {"momentum": 0.0}, ConfigError, "momentum must be in range.*got 0.0.*decay"),
        (ExponentialMovingAverage, {"momentum": 1.0}, ConfigError, "momentum must be in range"),
        (MomentumAnnealingEMA, {"gamma": 0}, ConfigError, "MomentumAnnealingEMA: gamma must be greater than 0, got 0"),
        (StochasticWeightAverage, {"interval": 0}, ConfigError, "interval must be a whole number of updates from 1"),
        (StochasticWeightAverage, {"interval": 1.5}, ConfigError, "got 1.5"),
    ],
)
def test_wrong_settings(kind, settings, error, message):
    with pytest.raises(error, match=message):
        kind(network(), **settings)


def test_no_module():
    with pytest.raises(ConfigTypeError, match="model must be an nn.Module, got dict"):
        StochasticWeightAverage({})


def test_a_large_momentum_is_questioned(capsys):
    ExponentialMovingAverage(network(), momentum=0.999)
    assert "Is momentum=0.001 what you mean?" in capsys.readouterr().err


def test_models_that_do_not_fit():
    average = ExponentialMovingAverage(network())
    with pytest.raises(ConfigError, match="averaged Sequential cannot follow this Linear: it has no '0.weight'"):
        average.update_parameters(nn.Linear(2, 2))
    other = network()
    other[3] = nn.Linear(5, 9)
    with pytest.raises(ConfigError, match=r"'3.weight' has shape \(9, 5\), and \(2, 5\) in the average"):
        average.update_parameters(other)
    gone = network()
    del gone[3]._parameters["bias"]
    with pytest.raises(ConfigError, match="it has no '3.bias'"):
        average.update_parameters(gone)


def test_a_parameter_that_goes_away_later():
    model = network()
    average = ExponentialMovingAverage(model)
    average.update_parameters(model)
    del model[3].bias
    with pytest.raises(ConfigError, match="it has no '3.bias'"):
        average.update_parameters(model)


def test_the_average_of_a_compiled_model_computes_with_weights_of_its_own():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    for module in (model, model[0]):
        module.forward = torch.compile(module.forward, backend="eager")
    average = ExponentialMovingAverage(model)
    with torch.no_grad():
        for parameter in average.module.parameters():
            parameter.fill_(1.0)
    assert torch.equal(average(torch.ones(1, 2)), torch.full((1, 2), 3.0))
    assert not torch.equal(model(torch.ones(1, 2)), torch.full((1, 2), 3.0))
