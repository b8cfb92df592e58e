"""mmengine.optim.optimizer.optimizer_wrapper: one update of the parameters."""

import logging
from unittest import mock

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer

pytestmark = pytest.mark.usefixtures("mmengine")


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.bn(self.conv(x))


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 1)

    def forward(self, x):
        return self.conv(x)


@pytest.fixture
def model():
    return Plain()


@pytest.fixture
def optimizer(model):
    return SGD(model.parameters(), lr=0.1)


@pytest.fixture
def hub(mmengine):
    from mmengine.logging import MessageHub

    MessageHub._instance_dict.pop("test_optim_wrapper", None)
    return MessageHub.get_instance("test_optim_wrapper")


@pytest.fixture
def records(mmengine):
    """What is logged to the current logger."""
    from mmengine.logging import MMLogger

    MMLogger._instance_dict.pop("test_optim_wrapper", None)
    logger, found = MMLogger.get_instance("test_optim_wrapper"), []
    handler = logging.Handler()
    handler.emit = found.append
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def wrap(optimizer, **settings):
    from mmengine.optim import OptimWrapper

    return OptimWrapper(optimizer, **settings)


def test_attributes(optimizer, hub):
    wrapper = wrap(optimizer)
    assert wrapper.optimizer is optimizer
    assert wrapper.clip_grad_kwargs is None
    assert wrapper._accumulative_counts == 1
    assert wrapper.message_hub is hub
    assert wrapper._inner_count == wrapper.inner_count == 0
    assert wrapper._max_counts == -1
    assert wrapper._remainder_counts == -1
    assert wrapper.defaults is optimizer.defaults
    assert wrapper.param_groups == optimizer.param_groups
    assert repr(wrapper).startswith("Type: OptimWrapper\n_accumulative_counts: 1\noptimizer: \nSGD")


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"clip_grad": []}, AssertionError, "If `clip_grad` is not None"),
        ({"clip_grad": {}}, AssertionError, "If `clip_grad` is not None"),
        ({"clip_grad": {"type": "norm"}}, AssertionError, "clip_grad"),
        ({"clip_grad": {"type": "sth", "max_norm": 1}}, ValueError, 'type of clip_grad should be "norm" or "value"'),
        ({"accumulative_counts": 0}, AssertionError, "accumulative_counts"),
    ],
)
def test_settings_that_are_refused(optimizer, settings, error, words):
    with pytest.raises(error, match=words):
        wrap(optimizer, **settings)


def mocked(wrapper):
    def backward(loss):
        wrapper._inner_count += 1
        wrapper.scaled_loss = loss

    wrapper.backward = backward
    wrapper.step = mock.MagicMock()
    wrapper.zero_grad = mock.MagicMock()
    return wrapper


def test_an_update_in_each_iteration(optimizer, model):
    wrapper = mocked(wrap(optimizer, accumulative_counts=1))
    loss = torch.tensor(1)
    wrapper.update_params(loss)
    assert wrapper.scaled_loss == torch.tensor(1)
    wrapper.step.assert_called_with()
    wrapper.zero_grad.assert_called_with()
    with wrapper.optim_context(model):
        wrapper.update_params(loss)
    assert wrapper.step.call_count == 2
    wrapper.update_params(loss, step_kwargs={"closure": None}, zero_kwargs={"set_to_none": False})
    wrapper.step.assert_called_with(closure=None)
    wrapper.zero_grad.assert_called_with(set_to_none=False)


def test_accumulation(optimizer, model):
    wrapper = mocked(wrap(optimizer, accumulative_counts=3))
    loss = torch.tensor(1)
    wrapper.update_params(loss)
    assert wrapper.scaled_loss == torch.tensor(1) / 3
    wrapper.step.assert_not_called()
    wrapper.zero_grad.assert_not_called()
    wrapper.update_params(loss)
    assert wrapper._inner_count == 2
    wrapper.update_params(loss)
    wrapper.step.assert_called()
    wrapper.zero_grad.assert_called()

    mocked(wrapper)._inner_count = 99  # nobody said when training ends
    wrapper.update_params(loss)
    wrapper.step.assert_not_called()
    wrapper.zero_grad.assert_not_called()
    assert wrapper.scaled_loss == torch.tensor(1) / 3

    wrapper.initialize_count_status(model, 99, 100)
    wrapper.update_params(loss)
    wrapper.step.assert_called()
    wrapper.zero_grad.assert_called()
    assert wrapper.scaled_loss == torch.tensor(1)

    mocked(wrapper).initialize_count_status(model, 96, 100)
    for _ in range(2):
        wrapper.update_params(loss)
        wrapper.step.assert_not_called()
        wrapper.zero_grad.assert_not_called()
    wrapper.update_params(loss)
    wrapper.step.assert_called()
    assert wrapper.scaled_loss == torch.tensor(1) / 3


def test_counts(optimizer, model, records):
    wrapper = wrap(optimizer, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 100)
    assert wrapper._remainder_counts == 1
    assert records == []
    wrap(optimizer, accumulative_counts=3).initialize_count_status(model, 2, 100)
    assert len(records) == 1
    assert "Resumed iteration number" in records.pop().msg
    wrap(optimizer, accumulative_counts=3).initialize_count_status(nn.BatchNorm2d(1), 0, 99)
    assert len(records) == 1
    assert "Gradient accumulative" in records[0].msg


def test_when_to_update_and_to_sync(optimizer, model):
    wrapper = wrap(optimizer, accumulative_counts=3)
    wrapper.initialize_count_status(model, 0, 5)
    seen = []
    for count in range(6):
        wrapper._inner_count = count
        seen.append((wrapper.should_update(), wrapper.should_sync()))
    assert seen == [
        (True, False),
        (False, False),
        (False, True),
        (True, False),
        (False, True),
        (True, True),
    ]


def test_values(model):
    wrapper = wrap(SGD(model.parameters(), lr=0.1))
    assert wrapper.get_lr() == {"lr": [0.1]}
    assert wrap(SGD(model.parameters(), lr=0.0, momentum=0.8)).get_momentum() == {"momentum": [0.8]}
    assert wrap(Adam(model.parameters(), lr=0.0, betas=(0.9, 0.9))).get_momentum() == {"momentum": [0.9]}
    two = wrap(SGD([{"params": [param], "lr": 0.1 * n} for n, param in enumerate(model.parameters())], lr=0.7))
    assert two.get_lr() == {"base_lr": [0.7], "lr": [0.0, 0.1]}
    assert two.base_param_settings["lr"] == 0.7
    assert len(two.param_groups) == 3


def test_a_mock_of_a_loss(optimizer):
    loss = mock.MagicMock()
    wrapper = wrap(optimizer)
    wrapper.backward(loss)
    loss.backward.assert_called()
    wrapper.backward(loss, retain_graph=True)
    loss.backward.assert_called_with(retain_graph=True)
    assert wrapper._inner_count == 2


@pytest.mark.parametrize("groups", [mock.MagicMock(), [], [{"params": []}]], ids=["mock", "none", "one"])
def test_a_mock_of_an_optimizer(groups):
    optimizer = mock.MagicMock(spec=Optimizer)
    optimizer.param_groups = groups
    wrapper = wrap(optimizer)
    wrapper.zero_grad()
    optimizer.zero_grad.assert_called()
    wrapper.step()
    optimizer.step.assert_called()
    wrapper.zero_grad(set_to_none=True)
    optimizer.zero_grad.assert_called_with(set_to_none=True)
    wrapper.step(closure=1)
    optimizer.step.assert_called_with(closure=1)


def test_clipping(optimizer, model, hub):
    wrapper = wrap(optimizer, clip_grad={"max_norm": 35})
    model(torch.ones(1, 1, 1)).sum().backward()
    wrapper._clip_grad()
    assert "train/grad_norm" in hub.log_scalars
    hub._log_scalars.clear()
    wrapper = wrap(optimizer, clip_grad={"type": "value", "clip_value": 0.5})
    wrapper._clip_grad()
    assert not hub.log_scalars
    assert all(param.grad.abs().max() <= 0.5 for param in model.parameters())


def test_clipping_before_the_step(optimizer, model):
    wrapper = wrap(optimizer, clip_grad={"max_norm": 1})
    wrapper._clip_grad = mock.MagicMock()
    wrapper.step()
    wrapper._clip_grad.assert_called()


def test_no_sync_while_accumulating(optimizer):
    model = mock.MagicMock(spec=["no_sync", "modules"])
    model.modules.return_value = []
    wrapper = wrap(optimizer, accumulative_counts=2)
    with wrapper.optim_context(model):
        model.no_sync.assert_called_once()
    wrapper._inner_count = 1
    with wrapper.optim_context(model):
        model.no_sync.assert_called_once()
    with wrap(optimizer).optim_context(model):
        model.no_sync.assert_called_once()


def test_states(model):
    groups = [{"params": [param]} for param in model.parameters()]
    one, other = wrap(SGD(groups, lr=0.1, momentum=0.9)), wrap(SGD(model.parameters(), lr=0.1))
    model(torch.ones(1, 1, 1)).sum().backward()
    one.step()
    state = one.state_dict()
    assert set(state) == {"state", "param_groups", "base_param_settings"}
    assert set(other.state_dict()) == {"state", "param_groups"}
    again = wrap(SGD([{"params": [param]} for param in model.parameters()], lr=0.5))
    again.load_state_dict(state)
    assert again.get_lr() == one.get_lr()
    assert again.base_param_settings["lr"] == 0.1


def test_values_of_a_training():
    torch.manual_seed(0)
    one, other = Plain(), Plain()
    other.load_state_dict(one.state_dict())
    wrapper = wrap(SGD(one.parameters(), lr=0.1), accumulative_counts=2, clip_grad={"max_norm": 0.5})
    optimizer = SGD(other.parameters(), lr=0.1)
    for _ in range(3):
        data = torch.randn(2, 4, 1, 3)
        for part in data:
            with wrapper.optim_context(one):
                loss = one(part).square().mean()
            wrapper.update_params(loss)
            (other(part).square().mean() / 2).backward()
        nn.utils.clip_grad_norm_(other.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    for mine, expected in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, expected)


def test_a_model_with_a_batch_norm_and_one_count(records):
    model = Toy()
    wrap(SGD(model.parameters(), lr=0.1)).initialize_count_status(model, 3, 10)
    assert records == []
