"""mmengine.model.averaged_model: means and exponential means of weights."""

import itertools

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("mmengine")


def net(with_norm=False):
    middle = nn.BatchNorm2d(5, momentum=0.3) if with_norm else nn.ReLU()
    return nn.Sequential(nn.Conv2d(1, 5, kernel_size=3), middle, nn.Linear(5, 10))


def held(model, buffers=False):
    tensors = itertools.chain(model.parameters(), model.buffers()) if buffers else model.parameters()
    return [tensor for tensor in tensors if tensor.size() != torch.Size([])]


def averages(model, averaged, n_updates, momentum_of, interval=1, buffers=False):
    """Update `n_updates` times; what the average must be."""
    expected = [torch.zeros_like(tensor) for tensor in held(model, buffers)]
    for i in range(n_updates):
        updated = []
        for tensor, mean in zip(held(model, buffers), expected, strict=True):
            tensor.detach().add_(torch.randn_like(tensor))
            if i == 0:
                updated.append(tensor.detach().clone())
            elif i % interval == 0:
                share = momentum_of(i)
                updated.append((mean * (1 - share) + tensor.detach() * share).clone())
            else:
                updated.append(mean.clone())
        averaged.update_parameters(model)
        expected = updated
    return expected


def assert_near(expected, found):
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other.detach())


def test_the_mean_over_updates():
    from mmengine.model import StochasticWeightAverage

    model = net()
    averaged = StochasticWeightAverage(model, device=torch.device("cpu"))
    expected = [torch.zeros_like(param) for param in model.parameters()]
    for _ in range(2):
        for param, mean in zip(model.parameters(), expected, strict=True):
            param.detach().add_(torch.randn_like(param))
            mean += param.detach() / 2
        averaged.update_parameters(model)
    assert_near(expected, averaged.parameters())
    assert averaged.steps.device == torch.device("cpu")
    assert averaged.steps == 2


def test_a_state_goes_into_another():
    from mmengine.model import StochasticWeightAverage

    model = net()
    one, other = StochasticWeightAverage(model), StochasticWeightAverage(model)
    for _ in range(10):
        for param in model.parameters():
            param.detach().add_(torch.randn_like(param))
        one.update_parameters(model)
    other.load_state_dict(one.state_dict())
    assert_near([param.detach() for param in one.parameters()], other.parameters())
    assert one.steps == other.steps
    assert {name.partition(".")[0] for name in one.state_dict()} == {"steps", "module"}


def test_an_exponential_mean():
    from mmengine.logging import MMLogger
    from mmengine.model import ExponentialMovingAverage

    with pytest.raises(AssertionError, match="momentum must be in range"):
        ExponentialMovingAverage(net(), momentum=3)
    logger = MMLogger.get_current_instance()
    records = []
    logger.addFilter(lambda record: records.append(record.levelname) or True)
    ExponentialMovingAverage(net(), momentum=0.6)
    del logger.filters[-1]
    assert "WARNING" in records
    model = net()
    averaged = ExponentialMovingAverage(model, momentum=0.1)
    assert_near(averages(model, averaged, 10, lambda i: 0.1), averaged.parameters())


def test_buffers_are_averaged_on_request():
    from mmengine.model import ExponentialMovingAverage

    model = net(with_norm=True)
    averaged = ExponentialMovingAverage(model, momentum=0.1, update_buffers=True)
    expected = averages(model, averaged, 5, lambda i: 0.1, buffers=True)
    assert_near(expected, held(averaged.module, buffers=True))
    assert averaged.avg_parameters.keys() == averaged.module.state_dict().keys()

    model = net(with_norm=True)
    averaged = ExponentialMovingAverage(model, momentum=0.1)
    averages(model, averaged, 2, lambda i: 0.1)
    assert averaged.avg_parameters.keys() == dict(averaged.module.named_parameters()).keys()


@pytest.mark.parametrize("interval", [1, 3])
def test_a_momentum_that_falls(interval):
    from mmengine.model import MomentumAnnealingEMA

    with pytest.raises(AssertionError, match="gamma must be greater than 0"):
        MomentumAnnealingEMA(net(), gamma=-1)
    model = net()
    averaged = MomentumAnnealingEMA(model, gamma=4, momentum=0.1, interval=interval)
    expected = averages(model, averaged, 10, lambda i: max(0.1, 4 / (4 + i)), interval=interval)
    assert_near(expected, averaged.parameters())


def test_an_average_of_ones_own():
    from mmengine.model import BaseAveragedModel

    class Largest(BaseAveragedModel):
        def avg_func(self, averaged_param, source_param, steps):
            assert isinstance(steps, torch.Tensor)
            averaged_param.copy_(torch.maximum(averaged_param, source_param))

    model = nn.Linear(2, 2)
    averaged = Largest(model)
    with torch.no_grad():
        for value in (1.0, 3.0, 2.0):
            for param in model.parameters():
                param.fill_(value)
            averaged.update_parameters(model)
    assert all((param == 3).all() for param in averaged.parameters())
    assert not any(param.requires_grad for param in averaged.parameters())
    assert averaged(torch.ones(1, 2)).shape == (1, 2)
